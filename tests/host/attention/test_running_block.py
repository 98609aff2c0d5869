"""Layers of a transformer by the number of the block that runs, whatever other nodes leave out."""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy_extras.nodes_slg as slg
import pytest
import torch
from comfyui_probe import evaluate
from host_cases import encode
from own_term import Standing
from tiny_transformers import WithLlama, latents, tiny_transformer

from instance_composer.hosts.comfyui.attention.binder import find_binder
from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.wrappers import bind


@dataclass(eq=False)
class Seen(Standing):
    """A term that notes the blocks it is asked in, one list for each call of the model."""

    blocks: tuple
    calls: list = field(default_factory=list)
    node = "Seen"
    kind = "seen"
    adds = False

    def group(self, members, device, cache):
        self.calls.append([])
        return self

    def act(self, call):
        self.calls[-1].append(call.block[1])


def seen_in(name, clip, double="", single=""):
    """Numbers of the blocks in each call, with those of skip layer guidance skipped; and the MODEL."""
    both, model = WithLlama(clip), tiny_transformer(name)
    term = Seen(find_binder(model).layers(model, "all"))
    guided = slg.SkipLayerGuidanceDiT.execute(model, 1.0, 0.0, 1.0, double, single).result[0]
    positive = carry(encode(both, "plates"), term)
    evaluate(bind(guided), positive, encode(both, "blurry"), latents(name, 1, 12, 16), 500)
    return term.calls, model.get_model_object("diffusion_model")


@pytest.mark.parametrize(
    ("name", "double", "single", "left"),
    [
        ("Flux.1", "1", "0", [0, 3]),
        ("Flux.1", "0, 1", "", [2, 3]),
        ("Chroma", "0", "", [1, 2, 3]),
        ("SD3.5", "0", "", [1]),
        ("Qwen-Image", "0", "", [1]),
        ("Wan", "0", "", [1]),
    ],
)
def test_a_skipped_block_moves_no_other(clip, name, double, single, left):
    calls, transformer = seen_in(name, clip, double, single)
    whole, skipped = calls
    assert whole == list(range(len(whole)))
    assert skipped == left
    assert not any(module._forward_pre_hooks for module in transformer.modules()), "nothing stays on it"


@pytest.mark.parametrize("name", ["HiDream I1", "Z-Image", "Lumina 2", "Krea 2", "Cosmos-Predict2", "Anima"])
def test_blocks_are_numbered_through(clip, name):
    ((*numbers,),), _ = seen_in(name, clip)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1


def test_the_hooks_come_off_after_an_error(clip):
    both, model = WithLlama(clip), tiny_transformer("Flux.1")

    class Failing(Seen):
        def act(self, call):
            raise RuntimeError("in the middle")

    term = Failing(find_binder(model).layers(model, "all"))
    positive = carry(encode(both, "plates"), term)
    with pytest.raises(RuntimeError, match="in the middle"):
        evaluate(bind(model), positive, encode(both, "blurry"), latents("Flux.1", 1, 12, 16), 500)
    transformer = model.get_model_object("diffusion_model")
    assert not any(module._forward_pre_hooks for module in transformer.modules())
    assert torch.is_tensor(next(transformer.parameters()))
