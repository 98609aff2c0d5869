"""From a layout to a picture."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from instance_composer.hosts.diffusers_sdxl import (
    UnsuitableModelError,
    encode_layout,
    encode_phrases,
    fit_size,
    generate,
)
from instance_composer.layout import (
    Box,
    Instance,
    Layout,
    LayoutError,
    Polygon,
)
from instance_composer.models.ifadapter import IFAdapter

pytestmark = pytest.mark.text_encoders


@pytest.fixture(scope="module")
def strong(adapter_file):
    """An adapter whose effect is far above rounding."""
    adapter = IFAdapter.load(adapter_file)
    for layer in adapter.attention.values():
        layer.to_v_ap.weight.mul_(10)
        layer.alpha.fill_(1.5)
    return adapter


def sample(pipeline, encoded, **changes):
    settings = {"height": 128, "width": 128, "steps": 3, "output_type": "latent"} | changes
    return generate(pipeline, encoded, **settings)


def test_a_second_run_equals_the_first(pipeline, strong, layout):
    encoded = encode_layout(pipeline, strong, layout)
    first = sample(pipeline, encoded, seeds=[5])
    assert torch.equal(first, sample(pipeline, encoded, seeds=[5]))
    assert torch.equal(first, sample(pipeline, encode_layout(pipeline, strong, layout), seeds=[5]))
    assert not torch.allclose(first, sample(pipeline, encoded, seeds=[6]), atol=0.1)


@pytest.mark.parametrize("inference_first", [True, False])
def test_what_is_kept_of_a_layout_serves_in_inference_mode_and_out_of_it(
    pipeline, strong, layout, inference_first
):
    expected = sample(pipeline, encode_layout(pipeline, strong, layout), seeds=[5])
    encoded = encode_layout(pipeline, strong, layout)
    for inference in (inference_first, not inference_first, inference_first):
        with torch.inference_mode(inference):
            assert torch.equal(sample(pipeline, encoded, seeds=[5]), expected)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_the_adapter_it_is_the_plain_pipeline(pipeline, strong, layout, guidance):
    """Three steps begin at 0, 1/3 and 2/3 of the run: nothing begins after 0.9."""
    encoded = encode_layout(pipeline, strong, layout)
    plain = pipeline(
        prompt=layout.prompt,
        negative_prompt_embeds=torch.zeros_like(encoded.prompt),
        negative_pooled_prompt_embeds=torch.zeros_like(encoded.pooled),
        height=128,
        width=128,
        num_inference_steps=3,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images
    for without in ({"scale": 0.0}, {"start": 0.4, "end": 0.4}, {"start": 0.9, "end": 1.0}):
        assert torch.equal(sample(pipeline, encoded, guidance=guidance, **without), plain)
    assert (sample(pipeline, encoded, guidance=guidance) - plain).abs().max() > 0.01


def test_consecutive_windows_equal_the_whole(pipeline, strong, layout):
    cat = layout.instances[0]
    early, late = replace(cat, id="early", end=0.5), replace(cat, id="late", start=0.5)
    whole = sample(pipeline, encode_layout(pipeline, strong, replace(layout, instances=(cat,))), steps=4)
    halves = encode_layout(pipeline, strong, replace(layout, instances=(early, late)))
    torch.testing.assert_close(sample(pipeline, halves, steps=4), whole, atol=1e-4, rtol=0)
    first = sample(pipeline, encode_layout(pipeline, strong, replace(layout, instances=(early,))), steps=4)
    torch.testing.assert_close(sample(pipeline, halves, steps=4, end=0.5), first, atol=1e-4, rtol=0)
    assert (first - whole).abs().max() > 0.01


@pytest.mark.parametrize("size", [(128, 128), (200, 264), (136, 96)])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_sizes_and_batches(pipeline, strong, layout, size, guidance):
    """Every picture depends on its own seed only; latents of 25 x 33 do not divide by four."""
    encoded, (height, width) = encode_layout(pipeline, strong, layout), size
    batch = sample(pipeline, encoded, height=height, width=width, seeds=[1, 2], guidance=guidance)
    assert batch.shape == (2, 4, height // 8, width // 8)
    alone = sample(pipeline, encoded, height=height, width=width, seeds=[2], guidance=guidance)
    torch.testing.assert_close(batch[1:], alone, atol=1e-3, rtol=0)


def test_pictures_come_out(pipeline, strong, layout):
    (picture,) = sample(pipeline, encode_layout(pipeline, strong, layout), output_type="pil", height=96)
    assert picture.size == (128, 96)


def test_the_unconditional_rows_are_the_published_ones(pipeline, strong, layout):
    encoded = encode_layout(pipeline, strong, layout)
    assert not encoded.negative_prompt.any()
    assert not encoded.negative_pooled.any()
    boxes = torch.tensor([list(instance.box) for instance in layout.instances])
    expected = strong.prompt(strong.unconditional_tokens(boxes), encoded.negative.regions)
    for number, values in expected.values.items():
        torch.testing.assert_close(encoded.negative.values[number], values, atol=1e-6, rtol=0)
    assert encoded.positive.regions is encoded.negative.regions


def test_captions_join_the_prompt_where_that_is_asked_for(pipeline, strong, layout):
    told = replace(layout, prompt="an old forest")
    captions = ", ".join(one.caption for one in layout.instances)
    written, joined = (replace(told, prompt=one) for one in (told.prompt, f"{told.prompt}, {captions}"))
    for asked, expected in ((False, written), (True, joined)):
        encoded = encode_layout(pipeline, strong, told, join_captions=asked)
        same = encode_layout(pipeline, strong, expected)
        assert torch.equal(encoded.prompt, same.prompt)
        assert torch.equal(encoded.pooled, same.pooled)
    # What is named is not said twice.
    again = encode_layout(pipeline, strong, joined, join_captions=True)
    assert torch.equal(again.prompt, same.prompt)
    assert not torch.equal(same.prompt, encode_layout(pipeline, strong, written).prompt)


def test_negatives_take_the_place_of_nothing(pipeline, strong, layout):
    first, second = layout.instances
    told = replace(layout, negative="blurry", instances=(replace(first, negative="a dog"), second))
    encoded, plain = (encode_layout(pipeline, strong, each) for each in (told, layout))
    assert encoded.negative_prompt.any()
    overridden = encode_layout(pipeline, strong, told, negative="")
    assert torch.equal(overridden.negative_prompt, plain.negative_prompt)
    phrases = encode_phrases(pipeline, ["a dog"])
    box = torch.tensor([list(first.box)])
    dog = strong.instance_tokens(phrases.hidden_states, phrases.attention_mask, phrases.eot, box)
    for number, layer in strong.attention.items():
        values = encoded.negative.values[number]
        torch.testing.assert_close(values[:1], layer.keys_values(dog)[1], atol=1e-5, rtol=0)
        torch.testing.assert_close(values[1:], plain.negative.values[number][1:], atol=1e-6, rtol=0)


def test_only_active_instances_count(pipeline, strong, layout):
    spare = Instance("off", Box(0, 0, 1, 1), "a dog", enabled=False), Instance("mute", Box(0, 0, 1, 1), " ")
    more = replace(layout, instances=(spare[0], *layout.instances, spare[1]))
    assert torch.equal(
        sample(pipeline, encode_layout(pipeline, strong, more)),
        sample(pipeline, encode_layout(pipeline, strong, layout)),
    )


def test_a_mask_takes_the_place_of_the_box(pipeline, strong, layout):
    cat, box = layout.instances[0], Box(0.25, 0.25, 0.75, 1.0)
    square = Polygon(((0.25, 0.25), (0.75, 0.25), (0.75, 1.0), (0.25, 1.0)))
    drawn, masked = (
        sample(pipeline, encode_layout(pipeline, strong, replace(layout, instances=(instance,))))
        for instance in (replace(cat, box=box), replace(cat, mask=square))
    )
    torch.testing.assert_close(masked, drawn, atol=1e-4, rtol=0)


def test_the_adapter_can_be_let_go(pipeline, adapter_file, layout):
    """Sampling keeps little beside the resampler."""
    adapter = IFAdapter.load(adapter_file)
    gone = weakref.ref(adapter), weakref.ref(adapter.text_proj_model.latents)
    encoded = encode_layout(pipeline, adapter, layout)
    del adapter
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    sample(pipeline, encoded)


def test_many_instances_are_encoded_in_parts(pipeline, adapter, layout):
    instances = tuple(Instance(str(i), Box(i / 20, 0.1, i / 20 + 0.3, 0.6), f"thing {i}") for i in range(11))
    done = []
    many = encode_layout(pipeline, adapter, replace(layout, instances=instances), on_instances=done.append)
    assert done == [8, 3]
    last = encode_layout(pipeline, adapter, replace(layout, instances=instances[-1:]))
    for number, keys in many.positive.keys.items():
        torch.testing.assert_close(keys[-1], last.positive.keys[number][0], atol=1e-5, rtol=0)


def test_an_interruption_leaves_the_next_run_clean(pipeline, strong, layout):
    encoded = encode_layout(pipeline, strong, layout)
    expected = sample(pipeline, encoded)

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = pipeline.unet.up_blocks[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample(pipeline, encoded)
    handle.remove()
    assert torch.equal(sample(pipeline, encoded), expected)
    assert all(not module._forward_pre_hooks for module in pipeline.unet.modules())


def test_size_conditioning_is_the_size_of_the_picture(pipeline, adapter, layout):
    seen = []
    handle = pipeline.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["added_cond_kwargs"]["time_ids"]), with_kwargs=True
    )
    sample(pipeline, encode_layout(pipeline, adapter, layout), height=96, steps=1)
    handle.remove()
    assert seen[0].tolist() == [[96, 128, 0, 0, 96, 128]] * 2


def test_fit_size(pipeline):
    assert fit_size(pipeline, 1024, 768) == (1024, 768)
    assert fit_size(pipeline, 1001, 3) == (1000, 8)


def test_a_layout_without_instances_is_refused(pipeline, adapter):
    with pytest.raises(LayoutError, match="no instance to place"):
        encode_layout(pipeline, adapter, Layout(prompt="a cat"))
    with pytest.raises(LayoutError, match="box"):
        encode_layout(pipeline, adapter, Layout((Instance("a", Box(0.5, 0.5, 0.2, 0.2), "a cat"),)))


def test_text_features_of_another_width_are_refused(pipeline, adapter, layout):
    other = IFAdapter.from_state_dict(
        {
            k: v[:, :40] if k == "text_proj_model.proj_in.weight" else v
            for k, v in adapter.state_dict().items()
        }
    )
    with pytest.raises(UnsuitableModelError, match=r"text features of width 40, .* give 48"):
        encode_layout(pipeline, other, layout)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_adapter_in_half_precision_draws_what_the_whole_one_does(
    pipeline, strong, adapter_file, layout, dtype
):
    half = IFAdapter.load(adapter_file)
    half.load_state_dict(strong.state_dict())
    encoded, exact = (encode_layout(pipeline, one, layout) for one in (half.to(dtype), strong))
    drawn, expected = sample(pipeline, encoded), sample(pipeline, exact)
    plain = sample(pipeline, exact, scale=0.0)
    assert (drawn - expected).abs().max() < 0.1 * (expected - plain).abs().max()
