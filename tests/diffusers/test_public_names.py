"""Every name that other code relies on, imported from where it is promised and called as it is promised."""

import ast
import inspect
import re

import pytest
import torch
from documentation import pages
from tiny_rewards import HEADS, WORDS, tiny_state
from tiny_sdxl import POOLED

from instance_composer.cli import COMMANDS, main
from instance_composer.hosts import diffusers_regions, diffusers_sdxl
from instance_composer.hosts.diffusers_sdxl import attach_ifadapter
from instance_composer.models import concentration
from instance_composer.models.concentration import (
    energy,
    extract_entities,
    pixel_loss,
    pixel_loss_official,
    token_loss,
    token_loss_official,
)
from instance_composer.models.entities.pipelines import parse
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.rewards import RewardModel

pytestmark = pytest.mark.text_encoders
BOXES = torch.tensor([[0.0, 0.1, 0.6, 0.9], [0.3, 0.0, 1.0, 0.5], [0.2, 0.4, 0.8, 1.0]])
COUNTS, PHRASES = [1, 2], 3


@pytest.fixture
def tokens(adapter):
    """Of three phrases, from features that must not change."""
    width = adapter.config.phrase_width
    features = torch.randn(PHRASES, 3, 9, width), torch.ones(PHRASES, 9), torch.randn(PHRASES, width)
    before = [one.clone() for one in features]
    made = adapter.instance_tokens(*features, BOXES)
    assert made.shape == (PHRASES, 3 * adapter.config.queries + 1, adapter.config.text_width)
    assert all(torch.equal(one, then) for one, then in zip(features, before, strict=True))
    return made


@pytest.mark.parametrize("name", ["adapter.bin", "adapter.safetensors"])
def test_an_adapter_is_loaded_and_saved(adapter, tmp_path, name):
    adapter.save(tmp_path / name)
    loaded = IFAdapter.load(tmp_path / name).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in adapter.state_dict().items())


def test_the_term_of_a_layer_is_what_attaching_adds(pipeline, adapter, tokens):
    """By official processor number; the layer's own query projection in, the sum before its output out."""
    layers = list(pipeline.unet.attn_processors)
    number = next(iter(adapter.attention))
    attention = pipeline.unet.get_submodule(layers[number].removesuffix(".processor"))
    queries, inputs = [], []
    handles = [
        attention.to_q.register_forward_hook(lambda module, args, out: queries.append(out)),
        attention.to_out[0].register_forward_pre_hook(lambda module, args: inputs.append(args[0])),
    ]
    sizes = {"text_embeds": torch.randn(2, POOLED), "time_ids": torch.zeros(2, 6)}
    latents, prompt = torch.randn(2, 4, 16, 24), torch.randn(2, 77, adapter.config.text_width)
    with torch.no_grad():
        pipeline.unet(latents, 500, prompt, added_cond_kwargs=sizes)
        with attach_ifadapter(pipeline.unet, adapter, tokens, BOXES, COUNTS, scale=1.0):
            # Ours runs first: what was there before the block comes before it.
            handles.append(
                attention.to_out[0].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
            )
            pipeline.unet(latents, 500, prompt, added_cond_kwargs=sizes)
    for handle in handles:
        handle.remove()
    term = adapter.attention[number](queries[-1], tokens, BOXES, COUNTS, (4, 6))
    assert term.shape == queries[-1].shape
    assert term.any()
    plain, found = inputs[-2:]
    torch.testing.assert_close(plain + term, found, atol=1e-5, rtol=0)


def test_losses_are_differentiable_scalars():
    maps = [torch.rand(2, 4, 4, 7).softmax(-1).requires_grad_() for _ in range(2)]
    masks = torch.zeros(2, 8, 8)
    masks[0, :, :4], masks[1, :, 4:] = 1, 1
    for loss in (token_loss, pixel_loss, token_loss_official, pixel_loss_official):
        value = loss(maps, masks, [[1, 2], [4, 5]])
        assert value.shape == ()
        assert all(gradient.any() for gradient in torch.autograd.grad(value, maps))


def test_entities_come_with_their_tokens():
    (doc,) = parse(["a red book and a vase"])
    spans = [(0, 0), *((word.idx, word.idx + len(word)) for word in doc)]
    book, vase = extract_entities(doc, spans)
    assert (book.entity.noun, book.tokens) == ("book", (2, 3))
    assert (vase.entity.noun, vase.tokens) == ("vase", (6,))


def test_a_reward_model_scores_pictures(tmp_path):
    made = RewardModel.from_state_dict(tiny_state(), {**HEADS, "words": WORDS})
    made.save(tmp_path / "reward.safetensors")
    model = RewardModel.load(tmp_path / "reward.safetensors")
    side = model.config.image_size
    ids = torch.tensor([[2, 4, 8, 3]] * 2)
    scores = model.score(torch.randn(2, 3, side, side), ids, torch.ones_like(ids))
    assert scores.shape == (2,)
    assert scores.isfinite().all()


@pytest.mark.parametrize(
    "command", ["demo", "render", "layout", "score", "train", "annotate", "evaluate", "convert"]
)
def test_a_command_helps(command, capsys):
    assert command in COMMANDS
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: instance-composer " + command)


def described():
    """Name and parameters of functions as the page on Python writes them, and the function that is meant."""
    for name, parameters in re.findall(r"`([\w.]+)\(([^`]*)\)`", pages()["docs/python-api.md"]):
        owner, _, last = name.rpartition(".")
        places = (IFAdapter,) if owner else (diffusers_sdxl, diffusers_regions, energy, concentration)
        found = [getattr(place, last) for place in places if hasattr(place, last)]
        # A list stands for the parameter that takes it.
        if found and "[" not in parameters:
            yield name, parameters, found[0]


def _literal(text):
    try:
        return ast.literal_eval(text)
    except ValueError:
        return None


def test_the_page_on_python_gives_functions_the_parameters_they_have():
    wrong, seen = [], 0
    for name, parameters, function in described():
        (stated,) = ast.parse(f"def f({parameters.replace('…', '...')}): ...").body
        known = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
        names = [one.arg for one in (*stated.args.args, *stated.args.kwonlyargs)]
        values = [*stated.args.defaults, *(one for one in stated.args.kw_defaults if one is not None)]
        texts = [ast.unparse(one) for one in values]
        real = [one.default for one in known if one.default is not inspect.Parameter.empty]
        same = len(texts) == len(real) and all(
            text in ("...", str(one)) or text == repr(one) or _literal(text) == one
            for text, one in zip(texts, real, strict=True)
        )
        seen += 1
        if names != [one.name for one in known] or not same:
            wrong.append((name, names, texts))
    assert wrong == []
    assert seen > 15
