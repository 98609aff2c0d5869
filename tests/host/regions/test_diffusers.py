"""The same regions on diffusers' transformers: with the same weights both hosts predict the same."""

from __future__ import annotations

from dataclasses import replace

import comfy.supported_models
import comfy.utils
import pytest
import torch
from comfyui_probe import evaluate
from host_cases import assert_close, encode
from tiny_comfyui import CPU, Patcher, random_like
from tiny_transformers import CONFIGS, WIDTH

from instance_composer.hosts.comfyui.regions.apply import draw_regions as draw_in_comfyui
from instance_composer.hosts.diffusers_regions import UnsuitableModelError, draw_regions

diffusers = pytest.importorskip("diffusers")

SIZE, STEP = (12, 16), 500
MOVED = 0.02


def made(name):
    """The MODEL of ComfyUI and the transformer of diffusers, with the same random weights."""
    kind, sizes, _ = CONFIGS[name]
    if name == "Flux.1":
        sizes = {**sizes, "mlp_ratio": 4.0}
        key_map = comfy.utils.flux_to_diffusers(sizes)
        other = diffusers.FluxTransformer2DModel(
            in_channels=64,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=24,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
    elif name == "Qwen-Image":
        other = diffusers.QwenImageTransformer2DModel(
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        )
        # ComfyUI's class has the same keys.
        key_map = {key: key for key in other.state_dict()}
    elif name == "Z-Image":
        # Feed-forward layers as wide as diffusers'.
        sizes = {**sizes, "ffn_dim_multiplier": 8 / 3, "multiple_of": 1, "rope_theta": 256.0}
        key_map = comfy.utils.z_image_to_diffusers(sizes)
        # ComfyUI's map names these two the other way round.
        for layer in ("final_layer", "x_embedder"):
            for key in [key for key in key_map if key.startswith(layer)]:
                key_map[f"all_{layer}.2-1.{key.removeprefix(layer + '.')}"] = key
        other = diffusers.ZImageTransformer2DModel(
            dim=256,
            n_layers=2,
            n_heads=16,
            n_kv_heads=16,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[512, 64, 64],
        )
        # At 1024 and wider both are as wide; below, diffusers' stays at 1024.
        other.t_embedder = type(other.t_embedder)(256, mid_size=256)
    else:
        key_map = comfy.utils.mmdit_to_diffusers(sizes)
        other = diffusers.SD3Transformer2DModel(
            sample_size=32,
            num_layers=2,
            attention_head_dim=64,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=128,
            pooled_projection_dim=24,
            out_channels=16,
            pos_embed_max_size=192,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
    settings = getattr(comfy.supported_models, kind)(dict(sizes))
    settings.set_inference_dtype(torch.float32, None)
    model = settings.get_model({}, "", CPU)
    state = random_like(model.diffusion_model.state_dict(), seed=3)
    model.diffusion_model.load_state_dict(state)
    found = {}
    for key, shape in other.state_dict().items():
        source, part, change = (
            (*key_map[key], None)[:3] if isinstance(key_map[key], tuple) else (key_map[key], None, None)
        )
        weight = state[source] if part is None else state[source].narrow(*part)
        found[key] = (weight if change is None else change(weight)).reshape(shape.shape)
    other.load_state_dict(found)
    return Patcher(model, load_device=CPU, offload_device=CPU), other.eval()


def captions_for(name, clip, layout):
    """As ComfyUI's node reads them: Flux without padding."""
    texts = [encode(clip, one.caption)[0][0] for one in layout.active]
    if name != "Flux.1":
        return texts
    ends = [clip.tokenize(one.caption)["g"][0] for one in layout.active]
    return [text[:, : [t for t, _ in end].index(49407) + 1] for text, end in zip(texts, ends, strict=True)]


def call(name, other, latent, texts, pooled, sigma):
    """The prediction of diffusers' transformer for rows of texts."""
    rows = len(texts)
    if name == "Z-Image":
        pictures = [latent[0][:, None]] * rows
        return -torch.stack(other(pictures, 1 - sigma.float().expand(rows), [*texts], False)[0])[:, :, 0]
    latent = latent.expand(rows, -1, -1, -1)
    sigma = sigma.float().expand(rows)
    if name == "SD3.5":
        return other(latent, texts, pooled, sigma * 1000, return_dict=False)[0]
    pack = diffusers.FluxPipeline._pack_latents
    height, width = latent.shape[-2:]
    if name == "Qwen-Image":
        shapes = [[(1, height // 2, width // 2)]] * rows
        mask = torch.ones(texts.shape[:2], dtype=torch.long)
        packed = pack(latent, rows, 16, height, width)
        found = other(packed, texts, mask, sigma, shapes, return_dict=False)[0]
        return diffusers.FluxPipeline._unpack_latents(found, height * 8, width * 8, 8)
    ids = diffusers.FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, CPU, torch.float32)
    found = other(
        pack(latent, rows, 16, height, width),
        texts,
        pooled,
        sigma,
        ids,
        torch.zeros(texts.shape[1], 3),
        torch.full((rows,), 3.5),
        return_dict=False,
    )[0]
    return diffusers.FluxPipeline._unpack_latents(found, height * 8, width * 8, 8)


@pytest.fixture(scope="module")
def noise():
    return torch.randn(1, 16, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["Flux.1", "SD3.5", "Qwen-Image", "Z-Image"])
@pytest.mark.parametrize("inside", [0.0, 0.5])
def test_both_hosts_predict_the_same(clip, layout, prompts, noise, name, inside):
    model, other = made(name)
    layout = replace(layout, instances=(replace(layout.instances[0], strength=0.5), *layout.instances[1:]))
    given = *draw_in_comfyui(model, clip, layout, prompts[0], prompt=inside), prompts[1]
    frames = (slice(None), slice(None), None) if name == "Qwen-Image" else ...
    expected = evaluate(*given, noise[frames], STEP).positive.reshape(noise.shape)
    sigma = model.get_model_object("model_sampling").sigmas[STEP]
    latent = noise * (sigma**2 + 1).sqrt()
    texts = torch.cat([prompts[1][0][0], prompts[0][0][0]])
    pooled = torch.cat([one[0][1]["pooled_output"] for one in reversed(prompts)])
    given = (name, other, latent, texts, pooled, sigma)
    before = call(*given)
    with draw_regions(other, layout, captions_for(name, clip, layout), texts[1:], prompt_inside=inside):
        found = call(*given)
    # ComfyUI's Z-Image turns keys of captions twice, to where they are and to where they would be alone.
    bound = 3e-5 if name == "Z-Image" else 1e-5
    assert_close(found[1:], expected, bound)
    assert_close(found[:1], before[:1], bound)
    assert (found - before)[1].abs().max() > MOVED
    assert torch.equal(call(*given), before), "the transformer is as it was"
    with draw_regions(other, layout, captions_for(name, clip, layout), texts[1:], strength=0.0):
        assert torch.equal(call(*given), before)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("shown", "shapes", "said"),
    [(40, [(1, 6, 8)], "part of the text"), (77, [(1, 6, 8), (1, 6, 8)], "reference pictures")],
)
def test_masked_text_and_reference_pictures_are_refused(clip, layout, prompts, noise, shown, shapes, said):
    _, other = made("Qwen-Image")
    text = prompts[0][0][0]
    mask = (torch.arange(77) < shown)[None].long()
    with (
        pytest.raises(UnsuitableModelError, match=said),
        draw_regions(other, layout, captions_for("Qwen-Image", clip, layout), text),
    ):
        other(torch.zeros(1, 48, 64), text, mask, torch.tensor([0.5]), [shapes])
    assert "forward" not in {**other.__dict__, **other.pos_embed.__dict__}


@torch.inference_mode()
def test_z_image_of_texts_of_other_lengths(clip, layout, prompts, noise):
    """Rows of other lengths, a text as long as the picture, and captions longer than the prompt."""
    _, other = made("Z-Image")
    picture, step = noise[0][:, None], torch.tensor([0.5])
    captions = captions_for("Z-Image", clip, layout)
    short = prompts[0][0][0][0, :20]

    def predicted(*texts):
        return other([picture] * len(texts), step.expand(len(texts)), [*texts], False)[0]

    plain = predicted(short)[0]
    with draw_regions(other, layout, captions, [short]):
        alone = predicted(short)[0]
        for size in (33, 64, 32 + 3 * 77 + 25):  # the last: as long as prompt and captions together
            longer = prompts[1][0][0][0].repeat(4, 1)[:size]
            together = predicted(longer, short)
            assert_close(together[1], alone, 1e-5)
            assert_close(together[0], predicted(longer)[0], 1e-5)
        wide = torch.nn.functional.pad(noise, (0, 20))[0][:, None]  # 96 + 12 tokens, filled up to 128
        assert torch.isfinite(other([wide], step, [short], False)[0][0]).all()
        with pytest.raises(UnsuitableModelError, match="reference pictures"):
            other([[picture, picture]], step, [[short]], False)
        with pytest.raises(UnsuitableModelError, match="ControlNet"):
            other([picture], step, [short], False, {0: torch.zeros(())})
    assert (alone - plain).abs().max() > MOVED
    assert not {"forward", "patchify_and_embed"} & set(other.__dict__)
    with (
        pytest.raises(ValueError, match="this list has 2"),
        draw_regions(other, layout, captions, [short] * 2),
    ):
        pass


@torch.inference_mode()
def test_z_image_gives_no_token_a_place_below_the_first(clip, layout, prompts, noise):
    """Captions and prompt end right before the picture; the longest of all begins at the first place, 1."""
    _, other = made("Z-Image")
    longest = 77
    captions = captions_for("Z-Image", clip, layout)
    assert {one.shape[-2] for one in captions} == {longest}
    embed, asked = other.rope_embedder, []

    def watched(ids):
        asked.append(ids[:, 0].tolist())
        return embed(ids)

    other.rope_embedder = watched
    short = prompts[0][0][0][0, :20]
    with draw_regions(other, layout, captions, [short]):
        other([noise[0][:, None]], torch.tensor([0.5]), [short], False)
    # The model fills the prompt up to 32 tokens, and the 48 of the picture have one place.
    pictures, text = asked
    assert text[:32] == [*range(longest - 31, longest + 1)]
    assert text[32:] == [*range(1, longest + 1)] * len(captions)
    assert pictures[:48] == [longest + 1] * 48


@torch.inference_mode()
def test_what_of_an_instance_has_no_effect_is_told(clip, layout, prompts, caplog):
    _, other = made("SD3.5")
    text, captions = prompts[0][0][0], captions_for("SD3.5", clip, layout)
    first, *rest = layout.active
    odd = replace(layout, instances=(replace(first, negative="blurred", end=0.5), *rest))

    def told(strength):
        caplog.clear()
        with draw_regions(other, odd, captions, text, strength):
            return caplog.text

    assert f"those of these have no effect: {first.id}." in told(1.0)
    assert "Parts of the run of single instances have no effect" in told(1.0)
    assert told(0.0) == ""


@torch.inference_mode()
@pytest.mark.parametrize("name", ["SD3.5", "Z-Image"])
def test_a_prompt_that_no_call_has_is_told(clip, layout, prompts, noise, name, caplog):
    """As after encoding it with another max_sequence_length, or with words weighted otherwise."""
    _, other = made(name)
    text, pooled = prompts[0][0][0], prompts[0][0][1]["pooled_output"]
    captions, sigma = captions_for(name, clip, layout), torch.tensor(0.5)

    def called(encoded, *given):
        caplog.clear()
        with draw_regions(other, layout, captions, encoded):
            found = [call(name, other, noise, one, pooled.expand(len(one), -1), sigma) for one in given]
        return found, [one.getMessage() for one in caplog.records if one.name == "instance_composer"]

    plain = call(name, other, noise, text, pooled, sigma)
    for encoded in (text[:, :40], text * 1.1):
        (found,), said = called(encoded, text)
        assert torch.equal(found, plain)
        (message,) = said
        assert f"That has {encoded.shape[1]} tokens, the texts have 77. Give the pipeline" in message
    # Guidance in two calls, and in one; of a block without a call there is nothing to tell.
    negative = prompts[1][0][0]
    for given in ([negative, text], [torch.cat((negative, text))], []):
        assert called(text, *given)[1] == []


def elsewhere(attention, hidden_states, encoder_hidden_states=None, **_):
    """A processor that does not ask torch for attention."""
    return hidden_states, encoder_hidden_states


@torch.inference_mode()
def test_what_does_not_fit_is_said(clip, layout, prompts, noise):
    _, other = made("SD3.5")
    text = prompts[0][0][0]
    captions = captions_for("SD3.5", clip, layout)
    with (
        pytest.raises(UnsuitableModelError, match="This transformer is Linear"),
        draw_regions(torch.nn.Linear(1, 1), layout, captions, text),
    ):
        pass
    with (
        pytest.raises(ValueError, match="2 captions and 3 active"),
        draw_regions(other, layout, captions[:2], text),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"\(1, n, 48\)"),
        draw_regions(other, layout, [one[..., :5] for one in captions], text),
    ):
        pass
    pooled = prompts[0][0][1]["pooled_output"]
    for block in other.transformer_blocks:
        block.attn.processor = elsewhere
    with (
        pytest.raises(UnsuitableModelError, match="No attention"),
        draw_regions(other, layout, captions, text),
    ):
        call("SD3.5", other, noise, text, pooled, torch.tensor(0.5))
    assert "forward" not in other.__dict__


@torch.inference_mode()
@pytest.mark.parametrize("name", ["Qwen-Image", "Z-Image"])
def test_what_somebody_else_put_in_a_methods_place_stays(clip, layout, prompts, noise, name):
    """As libraries do that move weights about."""
    _, other = made(name)
    owner, method = (other.pos_embed, "forward") if name == "Qwen-Image" else (other, "patchify_and_embed")
    plain, calls = getattr(owner, method), []
    own = lambda *args, **kwargs: (calls.append(1), plain(*args, **kwargs))[1]  # noqa: E731
    setattr(owner, method, own)
    text, pooled = prompts[0][0][0], prompts[0][0][1]["pooled_output"]
    with draw_regions(other, layout, captions_for(name, clip, layout), text):
        call(name, other, noise, text, pooled, torch.tensor(0.5))
    assert calls
    assert getattr(owner, method) is own
