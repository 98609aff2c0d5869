"""Without ComfyUI every module here is skipped, unread, with a line that says how to get it."""

import pytest
from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui
from skipped_module import skipped


def pytest_pycollect_makemodule(module_path, parent):
    return skipped(module_path, parent, None if find_comfyui() else HOW_TO_GET_COMFYUI)


if find_comfyui():
    from comfyui_process import start_comfyui

    start_comfyui()


@pytest.fixture(scope="session")
def unet_weights():
    """A random UNet of SDXL's shape, diffusers names."""
    import torch
    from diffusers import UNet2DConditionModel
    from tiny_sdxl import UNET

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(**UNET).state_dict()


@pytest.fixture(scope="session")
def model(unet_weights):
    from tiny_comfyui import tiny_model
    from tiny_sdxl import UNET

    return tiny_model(UNET, unet_weights)


@pytest.fixture(scope="session")
def tuned_weights(unet_weights):
    """The UNet after a little tuning, as IterComp is SDXL's: every weight moved by a few per cent."""
    from tiny_comfyui import random_like

    moves = random_like(unet_weights, seed=11)
    return {name: value + 0.03 * moves[name] for name, value in unet_weights.items()}


@pytest.fixture(scope="session")
def tuned(tuned_weights):
    from tiny_comfyui import tiny_model
    from tiny_sdxl import UNET

    return tiny_model(UNET, tuned_weights)


@pytest.fixture(scope="session")
def older_model():
    """A UNet as SD1.5 has it: no size embedding, a layer of attention in every block."""
    import comfy.supported_models
    import torch
    from tiny_comfyui import CPU, Patcher, random_like

    config = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [2, 2],
        "channel_mult": [1, 2],
        "transformer_depth": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1],
        "context_dim": 48,
        "adm_in_channels": None,
        "use_linear_in_transformer": False,
        "use_spatial_transformer": True,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "use_checkpoint": False,
        "num_heads": 4,
        "num_head_channels": -1,
        "dtype": torch.float32,
    }

    class Tiny(comfy.supported_models.SD15):
        unet_config = config
        unet_extra_config = {"num_heads": 4, "num_head_channels": -1}  # noqa: RUF012

    settings = Tiny(config)
    settings.set_inference_dtype(torch.float32, None)
    made = settings.get_model({}, "", CPU)
    made.diffusion_model.load_state_dict(random_like(made.diffusion_model.state_dict(), seed=5))
    return Patcher(made, load_device=CPU, offload_device=CPU)


@pytest.fixture(scope="session")
def clip():
    from tiny_comfyui import tiny_clip

    return tiny_clip()


@pytest.fixture(scope="session")
def adapter_file(tmp_path_factory):
    """An IFAdapter whose effect is large against rounding: a mistake shows in the second digit."""
    import torch
    from tiny_sdxl import write_tiny_ifadapter

    from instance_composer.models.ifadapter import IFAdapter

    path = write_tiny_ifadapter(tmp_path_factory.mktemp("adapter") / "tiny.safetensors")
    adapter = IFAdapter.load(path)
    with torch.no_grad():
        for layer in adapter.attention.values():
            layer.to_v_ap.weight.mul_(30)
    adapter.save(path)
    return path


@pytest.fixture(scope="session")
def adapter(adapter_file):
    from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter

    return load_adapter(adapter_file)


@pytest.fixture(scope="session")
def server(tmp_path_factory, unet_weights, adapter_file):
    """The tested ComfyUI as a server with the pack and tiny models; it starts in half a minute, and once."""
    from comfyui_server import running_server
    from tiny_server import PACKS, write_tiny_models

    base = tmp_path_factory.mktemp("server")
    write_tiny_models(base / "models", unet_weights, adapter_file)
    with running_server(find_comfyui(), base, PACKS) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server):
    """Its nodes, before a test has given it more files to choose from."""
    return server.get("/object_info")


@pytest.fixture(scope="session")
def fresh_demo(tmp_path_factory):
    """The demo model with fresh weights, as it is shipped. Who changes a file copies the folder first."""
    from demo_model import pack_fresh_demo

    return pack_fresh_demo(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def layout():
    """A vase over a large book, and a small cup that touches neither."""
    from instance_composer.layout import Box, Instance, Layout

    return Layout(
        (
            Instance("book", Box(0.05, 0.3, 0.75, 0.95), "a red leather book"),
            Instance("vase", Box(0.4, 0.1, 0.9, 0.6), "a yellow glass vase"),
            Instance("cup", Box(0.8, 0.75, 1.0, 1.0), "a blue cup with a handle"),
        )
    )


@pytest.fixture(scope="session")
def prompts(clip):
    """Positive and negative CONDITIONING."""
    import torch
    from host_cases import encode

    with torch.inference_mode():
        return encode(clip, "a red book, a yellow vase and a blue cup"), encode(clip, "blurry")


@pytest.fixture(scope="session")
def applied(model, clip, adapter, layout, prompts):
    """MODEL, positive and negative with the layout."""
    import torch

    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

    with torch.inference_mode():
        return apply_ifadapter(model, clip, adapter, layout, *prompts)


@pytest.fixture(autouse=True)
def _inference_mode():
    """ComfyUI runs nodes in inference mode."""
    import torch

    with torch.inference_mode():
        yield
