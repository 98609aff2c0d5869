"""The energy of attention followed to the latent, inside ComfyUI's inference mode."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_model_advanced
import folder_paths
import node_helpers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.quant_ops import QuantizedTensor
from comfyui_probe import evaluate
from host_cases import assert_close, encode, noise, sample
from prompt_entities import PROMPT, entities_of_prompt
from safetensors.torch import save_file
from tiny_comfyui import tiny_model
from tiny_sdxl import UNET

import nodes
from instance_composer.hosts.comfyui.attention.guiding_run import guiding_options
from instance_composer.hosts.comfyui.attention.silhouettes import GatheredMaps
from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.unet.presets import preset_blocks
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.attention_maps.record import Run, record_attention
from instance_composer.hosts.comfyui.concentration import differentiable_unet, latent
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.concentration.differentiable_unet import (
    LatentGuidanceError,
    check_device,
    check_memory,
    memory_message,
    needs_checkpoints,
)
from instance_composer.hosts.comfyui.concentration.kept_as_saved import KeptAsSaved
from instance_composer.hosts.comfyui.concentration.latent import LatentTerm
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.instance_lora.apply import lora_for_instance
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.models.concentration.energy import LATENT_STEP as STEP
from instance_composer.models.concentration.energy import (
    ConcentrationObjective,
    Energy,
    MaxAttentionObjective,
    unit_step,
)
from instance_composer.models.concentration.find_targets import find_targets

LATENTS = noise(2, 12, 16)
LATENT = Concentration(mode="latent", strength=2.0)
# The gradient is normalised, so rounding shows relative to one.
GRADIENT = 2e-3


def guide(model, prompts, layout, settings=LATENT, **options):
    return *apply_concentration(
        model, prompts[0], entities_of_prompt(), settings, layout, **options
    ), prompts[1]


def predicted(trio, latents=LATENTS, cfg=7.5, timestep=500):
    """The guided noise prediction, as a sampler sees it."""
    model, positive, negative = trio
    sigma = model.get_model_object("model_sampling").sigmas[timestep]
    noisy = latents * (sigma**2 + 1).sqrt()
    kept = []

    def once(denoiser, x, sigmas, extra_args, **_):
        kept.append(denoiser(noisy, sigmas[:1].expand(len(x)), **extra_args))
        return kept[0]

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    zeros, ends = torch.zeros_like(latents), torch.stack((sigma, torch.zeros(())))
    guider.sample(zeros, zeros, comfy.samplers.KSAMPLER(once), ends, disable_pbar=True, seed=0)
    return (noisy - kept[0]) / sigma


def unet_arguments(model, prompts, latents):
    """Arguments of the UNet for the positive alone, as normal tensors."""
    kept = []

    def keep(executor, *args, **kwargs):
        kept.extend(args[:4])
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "keep", keep)
    evaluate(model, *prompts, latents, 500, cfg=1.0)
    with torch.inference_mode(False):
        return [one.clone() for one in kept]


def reference_step(model, prompts, objective, preset="middle and decoder"):
    """The unit step by plain autograd through a MODEL whose weights are normal tensors."""
    latents, timestep, context, pooled = unet_arguments(model, prompts, LATENTS)
    maps = []

    def attend(query, key, value, options):
        heads = options["n_heads"]
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
        attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        maps.append(attention.unflatten(2, tuple(options["activations_shape"][-2:])))
        return (attention @ v).transpose(1, 2).flatten(2)

    patches = {"attn2": dict.fromkeys(preset_blocks(model, preset), attend)}
    options = {"patches_replace": patches, "cond_or_uncond": [0], "sigmas": timestep}
    with torch.inference_mode(False), torch.enable_grad():
        leaf = latents.requires_grad_()
        model.model.diffusion_model(leaf, timestep, context, pooled, None, options)
        rows = [objective([one[row] for one in maps], (True,) * 3) for row in range(len(latents))]
        (gradient,) = torch.autograd.grad(sum(row.value for row in rows), leaf)
        return unit_step(gradient, torch.stack([row.distance for row in rows]))


@pytest.fixture(scope="module")
def plain(loaded, prompts):
    with torch.inference_mode():
        return predicted((loaded, *prompts))


@pytest.fixture(params=["all is kept", "checkpoints"])
def memory(request, monkeypatch):
    """Whether activations are kept for the backward pass, or most of them computed again."""
    if request.param == "checkpoints":
        monkeypatch.setattr(differentiable_unet, "ALL_PER_CELL", 1 << 60)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("preset", "cfg"), [("coarse", 1.0), ("middle and decoder", 7.5)])
def test_the_prediction_moves_along_the_gradient_at_any_cfg(model, loaded, prompts, layout, preset, cfg):
    trio = guide(loaded, prompts, layout, replace(LATENT, layers=preset))
    moved = predicted(trio, cfg=cfg) - predicted((loaded, *prompts), cfg=cfg)
    objective = ConcentrationObjective(find_targets(entities_of_prompt(), layout))
    step = 2.0 * STEP * reference_step(model, prompts, objective, preset)
    # The denoised latent moves by step times sigma, so the noise moves the other way.
    assert_close(moved, -step, GRADIENT * STEP)
    assert step.abs().max() > STEP
    # The gradient takes the positive alone, then comes the usual evaluation.
    assert evaluate(*trio, LATENTS, 500).calls == [[0], [1, 0]]


def test_attend_and_excite_as_the_objective(model, loaded, prompts, layout, plain):
    targets = find_targets(entities_of_prompt(), layout)
    objective = MaxAttentionObjective(targets.nouns, words=75)
    blocks = preset_blocks(loaded, "middle and decoder")
    term = LatentTerm(targets, lambda _: objective, 1.0, blocks, (0.0, 1.0))
    found = predicted((bind(loaded), carry(prompts[0], term), prompts[1]))
    step = STEP * reference_step(model, prompts, objective)
    assert_close(found - plain, -step, GRADIENT * STEP)


@pytest.mark.parametrize("off", [{"strength": 0.0}, {"end": 0.2}], ids=str)
def test_switched_off_nothing_changes_by_a_bit(loaded, prompts, layout, plain, off):
    trio = guide(loaded, prompts, layout, replace(LATENT, **off))
    assert_close(predicted(trio), plain, 0)
    assert evaluate(*trio, LATENTS, 500).calls == [[1, 0]]


def test_the_model_stays_as_it_was_and_a_second_run_is_equal(loaded, prompts, layout, plain):
    trio = guide(loaded, prompts, layout)
    first, second = (predicted(trio) for _ in range(2))
    assert_close(first, second, 0)
    assert not first.requires_grad
    assert_close(predicted((loaded, *prompts)), plain, 0)
    assert not any("forward" in vars(module) for module in loaded.model.diffusion_model.modules())
    assert all(p.is_inference() for p in loaded.model.diffusion_model.parameters())


def test_pictures_of_a_batch_are_guided_each_for_itself(loaded, prompts, layout):
    trio = guide(loaded, prompts, layout)
    together = predicted(trio)
    alone = torch.cat([predicted(trio, LATENTS[[n]]) for n in range(2)])
    assert_close(together, alone, GRADIENT * STEP)


def test_with_an_adapter_and_local_guidance_in_either_order(loaded, clip, adapter, layout, prompts):
    local = replace(LATENT, mode="local")
    placed = apply_ifadapter(loaded, clip, adapter, layout, *prompts)
    first = guide(*_both(guide(*_both(placed), layout, local)), layout)
    bound = guide(*_both(guide(loaded, prompts, layout)), layout, local)
    last = apply_ifadapter(bound[0], clip, adapter, layout, *bound[1:])
    found = predicted(first)
    assert_close(found, predicted(last), GRADIENT * STEP)
    assert (found - predicted(guide(*_both(placed), layout, local))).abs().max() > STEP


def _both(trio):
    """A trio as (MODEL, prompts)."""
    return trio[0], trio[1:]


@pytest.mark.usefixtures("memory")
def test_weights_brought_in_for_one_operation(loaded, prompts, layout):
    """As offloaded weights: a buffer for each operation, overwritten before the backward pass needs it."""
    expected = predicted(guide(loaded, prompts, layout))
    buffers = {}

    def bring(weight):
        buffer = buffers.setdefault(weight.shape, torch.empty_like(weight))
        return buffer.copy_(weight)

    weighted = [m for m in loaded.model.diffusion_model.modules() if getattr(m, "weight", None) is not None]

    def offload(executor, *args, **kwargs):
        # ComfyUI loads a model whole onto the CPU and clears these then, so they are set while it samples.
        for module in weighted:
            module.weight_function = [bring]
        return executor(*args, **kwargs)

    offloaded = loaded.clone()
    offloaded.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "offload", offload)
    try:
        found = predicted(guide(offloaded, prompts, layout))
    finally:
        for module in weighted:
            module.weight_function = []
    assert buffers
    assert_close(found, expected, GRADIENT * STEP)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(unet_weights, loaded, prompts, layout, plain, dtype):
    half = tiny_model(UNET, unet_weights, dtype)
    moved = predicted(guide(half, prompts, layout)) - predicted((half, *prompts))
    full = predicted(guide(loaded, prompts, layout)) - plain
    alike = torch.nn.functional.cosine_similarity(moved.flatten(1), full.flatten(1))
    assert alike.min() > 0.9


@pytest.mark.parametrize("checkpoints", [False, True], ids=["all is kept", "checkpoints"])
def test_the_direction_is_right_in_half_precision(
    unet_weights, loaded, prompts, layout, checkpoints, monkeypatch
):
    """SDXL's energy is a mean over far more layers and heads than the tiny UNet's, so here it is divided."""
    if checkpoints:
        monkeypatch.setattr(differentiable_unet, "ALL_PER_CELL", 1 << 60)
    targets = find_targets(entities_of_prompt(), layout)
    objective = ConcentrationObjective(targets)

    def divided(maps, active):
        value, distance = objective(maps, active)
        return Energy(value / 2048, distance)

    def moved(model):
        term = LatentTerm(targets, lambda _: divided, 1.0, preset_blocks(model, "all"), (0.0, 1.0))
        guided = predicted((bind(model), carry(prompts[0], term), prompts[1]))
        return guided - predicted((model, *prompts))

    half, full = moved(tiny_model(UNET, unet_weights, torch.float16)), moved(loaded)
    alike = torch.nn.functional.cosine_similarity(half.flatten(1), full.flatten(1))
    assert alike.min() > 0.99


def test_a_gradient_that_overflows_is_taken_at_a_smaller_scale(unet_weights, prompts, layout, monkeypatch):
    half = tiny_model(UNET, unet_weights, torch.float16)
    expected = predicted(guide(half, prompts, layout))
    monkeypatch.setattr(latent, "LOSS_SCALES", (2.0**120, *latent.LOSS_SCALES))
    assert_close(predicted(guide(half, prompts, layout)), expected, 0)


def as_integers(weight):
    return weight.to(torch.int8)


def as_int8_layer(weight):
    return QuantizedTensor.from_float(weight, "TensorWiseINT8Layout")


@pytest.mark.parametrize(("quantised", "told"), [(as_integers, "int8"), (as_int8_layer, "QuantizedTensor")])
def test_quantised_weights_are_refused(unet_weights, prompts, layout, quantised, told):
    model = tiny_model(UNET, unet_weights)
    layer = model.model.diffusion_model.middle_block[1].proj_in
    with torch.inference_mode(False):
        layer.weight = torch.nn.Parameter(quantised(layer.weight), requires_grad=False)
    with pytest.raises(
        LatentGuidanceError, match=rf"middle_block\.1\.proj_in\.weight is .*{told}.* mode local"
    ):
        evaluate(*guide(model, prompts, layout), LATENTS, 500)


@torch.library.custom_op("instance_composer_tests::without_gradient", mutates_args=())
def without_gradient(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def test_a_kernel_without_gradient_is_told_in_words(loaded, prompts, layout):
    """Its forward pass gives no sign of it."""
    model = loaded.clone()
    model.set_model_attn1_replace(lambda query, key, value, options: without_gradient(query), "output", 0)
    with pytest.raises(LatentGuidanceError, match=r"cannot be differentiated.* mode local"):
        evaluate(*guide(model, prompts, layout), LATENTS, 500)


def test_too_little_memory_is_told_in_numbers(loaded):
    model, latents = loaded.model, torch.zeros(2, 4, 128, 96)
    check_memory(model, latents, 1 << 40)
    with pytest.raises(
        LatentGuidanceError, match=r"needs about \d+ MiB for 2 picture\(s\) of 768 x 1024 pixels"
    ):
        check_memory(model, latents, 1 << 20)


CAST = [(torch.float8_e4m3fn, torch.bfloat16), (torch.float16, torch.bfloat16)]


@pytest.mark.parametrize(("kept", "computing"), CAST)
def test_memory_is_estimated_by_the_type_that_is_computed_in(unet_weights, kept, computing):
    """A weight that is cast is kept as its copy, unless its block is computed again."""
    plain = tiny_model(UNET, unet_weights, computing).model
    cast = tiny_model(UNET, unet_weights, kept, computing).model
    assert memory_message(cast, LATENTS, 0) == memory_message(plain, LATENTS, 0)
    assert needs_checkpoints(cast, LATENTS, 1 << 40)
    assert not needs_checkpoints(plain, LATENTS, 1 << 40)


@pytest.mark.parametrize(("kept", "computing"), CAST)
def test_cast_weights_are_not_kept_for_the_gradient(
    unet_weights, prompts, layout, kept, computing, monkeypatch
):
    saved = [
        saved_bytes(guide(tiny_model(UNET, unet_weights, *dtypes), prompts, layout), monkeypatch)
        for dtypes in ((computing,), (kept, computing))
    ]
    assert 0 < saved[1] < saved[0]


def saved_bytes(trio, monkeypatch):
    """Bytes kept for the backward pass beyond the MODEL's own weights."""
    weights = {p.untyped_storage().data_ptr() for p in trio[0].model.parameters()}
    storages = {}
    save = KeptAsSaved.save

    def note(self, kept):
        storage = kept.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return save(self, kept)

    # Of hooks on what is kept the innermost alone are asked.
    with monkeypatch.context() as patched:
        patched.setattr(KeptAsSaved, "save", note)
        predicted(trio)
    return sum(storage.nbytes() for storage in storages.values())


def test_memory_that_ran_out_is_told_in_numbers(loaded, prompts, layout, monkeypatch):
    def out_of_memory(*_):
        raise comfy.model_management.OOM_EXCEPTION

    monkeypatch.setattr(latent, "unit_step", out_of_memory)
    with pytest.raises(LatentGuidanceError, match=r"Memory ran out .*needs about \d+ MiB for 2 picture"):
        evaluate(*guide(loaded, prompts, layout), LATENTS, 500)


def test_apples_gpus_are_refused():
    check_device(torch.device("cuda"))
    with pytest.raises(LatentGuidanceError, match=r"MPS.* mode local"):
        check_device(torch.device("mps"))


def test_sampling_with_it_changes_the_picture(loaded, prompts, layout):
    empty = {"samples": torch.zeros(1, 4, 16, 16)}
    trio = guide(loaded, prompts, layout, replace(LATENT, end=0.5))
    moved = sample(trio, empty)
    assert moved.isfinite().all()
    assert (moved - sample((loaded, *prompts), empty)).abs().max() > 0.01


EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}


def ranged(conditioning, start, end):
    return nodes.ConditioningSetTimestepRange().set_range(conditioning, start, end)[0]


def masked(conditioning, mask, strength=1.0):
    return nodes.ConditioningSetMask().append(conditioning, mask, "default", strength)[0]


def test_a_schedule_that_begins_at_almost_infinite_noise_is_guided_as_others(loaded, prompts, layout):
    """Zero-terminal-SNR v-prediction: a tenth of its first noise would be hundreds of times the picture."""
    patch = comfy_extras.nodes_model_advanced.ModelSamplingDiscrete().patch
    moved = {}
    for zsnr in (False, True):
        model = patch(loaded, "v_prediction", zsnr)[0]
        plain = sample((model, *prompts), {"samples": torch.zeros(1, 4, 16, 16)}, 12)
        guided = sample(guide(model, prompts, layout), {"samples": torch.zeros(1, 4, 16, 16)}, 12)
        assert 0.8 < guided.std() / plain.std() < 1.25
        moved[zsnr] = (guided - plain).std()
    assert 0.3 < moved[True] / moved[False] < 3


def test_on_several_devices_the_gradient_is_computed_on_one():
    """ComfyUI's threads for other devices run without gradients."""
    given = {"multigpu_clones": {}, "transformer_options": {"wrappers": {}, "sigmas": 1}, "kept": 2}
    assert guiding_options(given) == {
        "transformer_options": {"wrappers": {WrappersMP.DIFFUSION_MODEL: {}}, "sigmas": 1},
        "kept": 2,
    }
    assert "multigpu_clones" in given


def test_a_prompt_out_of_its_range_moves_nothing(loaded, clip, prompts, layout):
    later = ranged(encode(clip, "a picture"), 0.5, 1.0)
    model, positive, negative = guide(loaded, prompts, layout)
    found = sample((model, ranged(positive, 0.0, 0.5) + later, negative), EMPTY, steps=4)
    model, positive, negative = guide(loaded, prompts, layout, replace(LATENT, end=0.5))
    expected = sample((model, ranged(positive, 0.0, 0.5) + later, negative), EMPTY, steps=4)
    assert_close(found, expected, 0)
    plain = sample((loaded, ranged(prompts[0], 0.0, 0.5) + later, negative), EMPTY, steps=4)
    assert (found - plain).abs().max() > 0.01


def test_a_run_that_evaluates_nothing_moves_nothing(loaded, prompts, layout):
    """Another pack leaves the conditioning out."""
    targets = find_targets(entities_of_prompt(), layout)
    term = LatentTerm(
        targets,
        lambda seen: ConcentrationObjective(seen),
        1.0,
        preset_blocks(loaded, "coarse"),
        (0.0, 1.0),
    )

    def leave_out(executor, model, conds, latent, *args):
        if sum(group is not None for group in conds) == 1:
            return [torch.zeros_like(latent) for _ in conds]
        return executor(model, conds, latent, *args)

    model = bind(loaded)
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "leave out", leave_out)
    found = predicted((model, carry(prompts[0], term), prompts[1]))
    assert_close(found, predicted((loaded, *prompts)), 0)


def test_prompts_move_as_much_as_they_count_in_the_output(loaded, clip, prompts, layout):
    model, positive, negative = guide(loaded, prompts, layout)
    whole = predicted((model, positive, negative))
    left = torch.zeros(1, 12, 16)
    left[..., :6] = 1.0
    split = masked(positive, left) + masked(positive, 1 - left)
    assert_close(predicted((model, split, negative)), whole, GRADIENT * STEP)
    mixed = masked(positive, torch.full_like(left, 0.25)) + masked(positive, torch.full_like(left, 0.75))
    assert_close(predicted((model, mixed, negative)), whole, GRADIENT * STEP)
    assert_close(predicted((model, masked(positive, left, 0.5), negative))[..., :6], whole[..., :6], 0)
    other = encode(clip, "a grey thing")
    faded = predicted((model, masked(positive, left, 0.0) + other, negative))
    assert_close(faded, predicted((loaded, other, negative)))


def test_a_prompt_with_an_area_moves_there_alone(loaded, clip, prompts, layout):
    model, positive, negative = guide(loaded, prompts, layout)
    area, other = (8, 8, 2, 4), encode(clip, "a grey thing")

    def both(conditioning):
        return node_helpers.conditioning_set_values(conditioning, {"area": area, "strength": 1.0}) + other

    moved = predicted((model, both(positive), negative)) - predicted((loaded, both(prompts[0]), negative))
    inside = torch.zeros_like(moved, dtype=torch.bool)
    inside[..., 2:10, 4:12] = True
    assert moved[~inside].abs().max() == 0
    assert moved[inside].abs().max() > 0.1 * STEP


@pytest.fixture
def dotted(loaded, tmp_path):
    """A LoRA of everything that reads the text, in the first instance of the layout."""
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    generator, state = torch.Generator().manual_seed(3), {}
    for key, weight in loaded.model.diffusion_model.state_dict().items():
        layer = key.removesuffix(".weight")
        if layer.endswith(("attn2.to_k", "attn2.to_q", "in_layers.2")):
            down = torch.randn(2, *weight.shape[1:], generator=generator) / weight[0].numel() ** 0.5
            up = torch.randn(weight.shape[0], 2, *(1,) * (weight.ndim - 2), generator=generator)
            state |= {f"diffusion_model.{layer}.lora_{n}.weight": w for n, w in (("down", down), ("up", up))}
    save_file(state, tmp_path / "for_latent.safetensors")
    return "for_latent.safetensors"


def test_with_a_lora_for_an_instance(loaded, prompts, layout, dotted, monkeypatch):
    """Its hooks are there while the UNet runs, not while blocks are computed again."""
    tuned, _ = lora_for_instance(loaded, layout, "book", dotted)
    trio = guide(tuned, prompts, layout)
    kept = predicted(trio)
    monkeypatch.setattr(differentiable_unet, "ALL_PER_CELL", 1 << 60)
    assert_close(predicted(trio), kept, GRADIENT * STEP)
    assert (kept - predicted((tuned, *prompts))).abs().max() > STEP
    assert (kept - predicted(guide(loaded, prompts, layout))).abs().max() > STEP


@pytest.mark.usefixtures("memory")
def test_what_another_pack_put_in_the_place_of_a_block_stays_there(loaded, prompts, layout):
    name = "diffusion_model.middle_block.1.transformer_blocks.0.forward"
    block = loaded.get_model_object(name.removesuffix(".forward"))
    calls, forward = [], block.forward

    def counting(*args, **kwargs):
        calls.append(1)
        return forward(*args, **kwargs)

    patched = loaded.clone()
    patched.add_object_patch(name, counting)
    predicted((patched, *prompts))
    assert len(calls) == 1
    trio = guide(patched, prompts, layout, replace(LATENT, end=0.5))
    calls.clear()
    steps = 4
    sample(trio, EMPTY, steps=steps)
    in_guiding = len(calls) - steps
    # Late steps, which do not guide, go through it too: they come after those that do.
    assert in_guiding > 0
    calls.clear()
    predicted(trio, timestep=100)
    assert len(calls) == 1


@pytest.mark.usefixtures("memory")
def test_a_guiding_run_is_not_recorded(loaded, prompts, layout, monkeypatch):
    seen, add = [], Run.add
    monkeypatch.setattr(Run, "add", lambda self, maps: (seen.append(maps.shape), add(self, maps)))
    entities = PromptEntities(PROMPT, entities_of_prompt())
    model, record = record_attention(loaded, entities, "all", 0.0, 1.0)
    sample((model, *prompts), EMPTY, steps=2)
    plain = list(seen)
    seen.clear()
    guided = guide(model, prompts, layout)
    sample(guided, EMPTY, steps=2)
    assert seen == plain
    # The first step begins with the same latent, so what it attends to is the same too.
    one = [predicted((model, *prompts)), record.maps_of(None, 2).nouns]
    two = [predicted(guided), record.maps_of(None, 2).nouns]
    assert_close(two[1], one[1], 0)
    assert not torch.equal(two[0], one[0])


@pytest.mark.usefixtures("memory")
def test_a_guiding_run_grows_no_silhouettes(loaded, clip, adapter, prompts, layout, monkeypatch):
    """Of an adapter and of local guidance: the guiding run of another node is none of their steps."""
    added, add = [], GatheredMaps.add
    monkeypatch.setattr(GatheredMaps, "add", lambda self, maps: (added.append(1), add(self, maps)))
    placed = apply_ifadapter(loaded, clip, adapter, layout, *prompts, silhouettes_from=0.5)
    local = replace(LATENT, mode="local", silhouettes_from=0.5)
    both = guide(placed[0], placed[1:], layout, local)
    sample(both, EMPTY, steps=2)
    alone = len(added)
    added.clear()
    sample(guide(both[0], both[1:], layout), EMPTY, steps=2)
    assert len(added) == alone > 0
    added.clear()
    own = guide(loaded, prompts, layout, replace(LATENT, silhouettes_from=0.5))
    sample(own, EMPTY, steps=2)
    assert added, "those of the guiding term itself grow in its own run"
