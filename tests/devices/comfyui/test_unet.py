"""A whole SDXL UNet of ComfyUI, of real size and without values: what an adapter adds to one evaluation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.ops import manual_cast
from comfy.patcher_extension import WrappersMP
from device_watch import DEVICE, Watch, watched

from instance_composer.hosts.comfyui.attention.terms import KEY
from instance_composer.hosts.comfyui.attention.text import Text
from instance_composer.hosts.comfyui.attention.unet.layers import attention_layers
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.attention_maps.record import RecordingGroup, Run, Settings
from instance_composer.hosts.comfyui.concentration.local import LocalStep
from instance_composer.hosts.comfyui.ifadapter.term import AdaptedLayers, InstanceStep
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.models.concentration import LocalGuidance, Targets
from instance_composer.models.entities.extraction import Entity, EntityTokens, Word
from instance_composer.models.ifadapter import InstanceAttention, InstancePrompt
from instance_composer.models.regions import Rectangle, Regions
from instance_composer.models.sdxl.attention_layers import number_attention_layers

SDXL = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_head_channels": 64,
    "legacy": False,
}
# The published adapter's: four blocks of the middle and of each of the first three attentions of the decoder.
LAYERS = {"mid": ("middle", 1), "up": ("output", 3)}
MOST_LAUNCHES = 1000
TEXT = Text(77, 77)
ALIKE: list[Rectangle] = [(0.02 + 0.07 * i, 0.1, 0.3 + 0.07 * i, 0.4) for i in range(10)]


def unet_of(dtype: torch.dtype) -> UNetModel:
    return UNetModel(**SDXL, dtype=dtype, device=DEVICE, operations=manual_cast)


@pytest.fixture(scope="module")
def unet() -> UNetModel:
    return unet_of(torch.float16)


def adapted_layers() -> AdaptedLayers:
    """The gates of 16 layers, in float32 as sampling keeps them."""
    numbers = number_attention_layers(down=[2, 2, 10, 10], up=[10, 10, 10, 2, 2, 2], mid=10)
    blocks = {
        (LAYERS[layer.stage][0], layer.position, layer.transformer_block): number
        for number, layer in numbers.items()
        if layer.stage in LAYERS and layer.position < LAYERS[layer.stage][1] and layer.transformer_block < 4
    }
    gate = InstanceAttention(width=1280, text_width=64, head_dim=64, gate_hidden=80, gate_kernel=7).gate()
    return AdaptedLayers(dict.fromkeys(blocks.values(), gate.frozen()), blocks)


def step_of(layers: AdaptedLayers, regions: Regions, strength: float = 1.0) -> InstanceStep:
    shape = (len(regions), 20, 13, 64)
    pairs = ({number: torch.zeros(shape) for number in layers.gates} for _ in range(2))
    return InstanceStep(layers, InstancePrompt(regions, *pairs), strength, regions, (True,) * len(regions))


def as_on_a_gpu(chosen: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    """torch's own attention; what ComfyUI takes on a CPU asks the device for its free memory."""
    return attention_pytorch(*args, **kwargs)


def evaluate(unet: UNetModel, run: Callable[..., Any], **terms: Any) -> torch.Tensor:
    """The UNet at 1024 px with guidance; `run` calls it."""
    rows, dtype = 2, unet.dtype
    options: dict[str, Any] = {"cond_or_uncond": [1, 0], "optimized_attention_override": as_on_a_gpu}
    inputs = {"dtype": dtype, "device": DEVICE}
    with torch.no_grad():
        return run(
            torch.empty(rows, 4, 128, 128, **inputs),
            torch.empty(rows, **inputs),
            torch.empty(rows, 77, 2048, **inputs),
            torch.empty(rows, 2816, **inputs),
            None,
            options,
            **terms,
        )


def watch_evaluation(unet: UNetModel, run: Callable[..., Any], times: int = 1, **terms: Any) -> Watch:
    for _ in range(times - 1):
        evaluate(unet, run, **terms)
    with watched() as watch:
        found = evaluate(unet, run, **terms)
    assert (found.dtype, found.device, found.shape) == (unet.dtype, DEVICE, (2, 4, 128, 128))
    return watch


def patcher(unet: UNetModel) -> ModelPatcher:
    """A MODEL as far as binding looks at it."""
    whole = torch.nn.Module()
    whole.diffusion_model = unet
    return ModelPatcher(whole, load_device=DEVICE, offload_device=DEVICE)


def adapter_watch(unet: UNetModel, rectangles: list[Rectangle], times: int = 2) -> Watch:
    """An evaluation with an instance at each of the boxes in both rows; by default not the first one."""
    model = bind(patcher(unet))
    (wrapper,) = model.get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)
    layers, regions = adapted_layers(), Regions.of_boxes(rectangles)
    assert len(layers.blocks) == 16
    # A conditioning each, of one kind: the negative's tokens and the positive's in the same boxes.
    terms = tuple((step_of(layers, regions),) for _ in range(2))

    def run(*args: Any, **kwargs: Any) -> Any:
        return wrapper(unet._forward, *args, **kwargs)

    return watch_evaluation(unet, run, times, **{KEY: terms})


@pytest.fixture(scope="module")
def plain(unet) -> Watch:
    return watch_evaluation(unet, unet._forward)


@pytest.mark.parametrize("count", [1, 4, 10])
def test_an_adapter_adds_few_launches_whatever_the_number_of_instances(unet, plain, count):
    watch = adapter_watch(unet, ALIKE[:count])
    # Something was added at each of the 16 layers.
    assert 16 * 30 < watch.launches - plain.launches <= MOST_LAUNCHES
    assert watch.copies == plain.copies
    assert watch.on_cpu == plain.on_cpu


def test_what_an_adapter_needs_is_copied_in_its_first_evaluation(unet, plain):
    assert adapter_watch(unet, ALIKE[:4], times=1).copies.total() > plain.copies.total() == 0


def test_a_large_instance_among_small_ones_adds_one_group(unet, plain):
    watch = adapter_watch(unet, [(0.0, 0.0, 1.0, 1.0), *ALIKE[:7]])
    assert MOST_LAUNCHES < watch.launches - plain.launches <= MOST_LAUNCHES + 16 * 35


def test_the_same_in_bfloat16():
    unet = unet_of(torch.bfloat16)
    plain = watch_evaluation(unet, unet._forward)
    watch = adapter_watch(unet, ALIKE[:4])
    assert watch.launches - plain.launches <= MOST_LAUNCHES
    assert watch.copies == plain.copies


@pytest.mark.parametrize(
    ("derived", "count", "most"),
    [(False, 2, 874), (False, 10, 874), (True, 10, 1196)],
    ids=["two boxes", "ten boxes", "ten own maps"],
)
def test_local_concentration_adds_few_launches_whatever_the_number_of_entities(
    unet, plain, derived, most, count
):
    """Entities of the positive prompt, in the 46 layers of the middle and the decoder."""
    layers = tuple(block for block, _ in attention_layers(unet).values() if block[0] != "input")
    assert len(layers) == 46
    groups = tuple((3 * n + 1, 3 * n + 2) for n in range(count))
    nouns = tuple(group[1:] for group in groups)
    targets = Targets(groups, nouns, Regions.of_boxes(ALIKE[:count]), (derived,) * count)
    step = LocalStep(targets, LocalGuidance(strength=2.0), layers, (True,) * count, TEXT)
    (wrapper,) = bind(patcher(unet)).get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)

    def run(*args: Any, **kwargs: Any) -> Any:
        return wrapper(unet._forward, *args, **kwargs)

    watch = watch_evaluation(unet, run, times=2, **{KEY: ((), (step,))})
    assert 46 * 15 < watch.launches - plain.launches <= most
    assert watch.copies == plain.copies
    assert watch.on_cpu == plain.on_cpu


def test_recording_copies_to_the_device_in_its_first_evaluation_alone(unet, plain):
    """Three entities in the second of two chunks, in all 16 layers."""
    word = Word("cup", 0, 3)
    cup = Entity("cup", (), "cup", 0, 3, (word,))
    entities = tuple(EntityTokens(cup, (n, n + 1), (n + 1,), (n,)) for n in (2, 6, 9))
    settings = Settings(PromptEntities("cup", entities), tuple(adapted_layers().blocks), (0.0, 1.0))
    recording = Run(settings, None)

    class Observer:
        def begin_step(self, *_: Any) -> None:
            """Nothing: the wrapper is called by itself."""

        def group(self, *_: Any) -> RecordingGroup:
            return RecordingGroup(recording, {1: TEXT}, torch.device(DEVICE))

    (wrapper,) = bind(patcher(unet), Observer()).get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)

    def run(*args: Any, **kwargs: Any) -> Any:
        return wrapper(unet._forward, *args, **kwargs)

    assert watch_evaluation(unet, run).copies.total() > plain.copies.total()
    watch = watch_evaluation(unet, run)
    assert recording.counts == {(32, 32): 32}
    assert 0 < watch.launches - plain.launches <= 16 * 9
    assert watch.copies == plain.copies
    assert watch.on_cpu == plain.on_cpu
