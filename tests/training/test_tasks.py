"""Real classes at toy size: ten steps lower the loss, a resumed run equals a straight one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from latent_sets import latent_set
from PIL import Image
from tiny_rewards import HEADS, WORDS, tiny_state
from tiny_sdxl import tiny_vae

from instance_composer.hosts.diffusers_sdxl import encode_tokens, load_sdxl
from instance_composer.layout import (
    Canvas,
    Layout,
)
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.rewards import RewardModel, RewardTokenizer
from instance_composer.models.sdxl.files import open_unet
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.latents import (
    LatentSet,
)
from instance_composer.training.data.pictures import decode, posterior
from instance_composer.training.demo_model.autoencoder import AutoencoderTask, normalize_latents
from instance_composer.training.demo_model.text_to_image import TextToImageTask
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import generator_at
from instance_composer.training.engine.settings import Settings
from instance_composer.training.engine.task import BatchPosition
from instance_composer.training.ifadapter.initial_weights import adapted_layers, make_adapter
from instance_composer.training.ifadapter.objective import IFAdapterTask
from instance_composer.training.itercomp.feedback_objective import AspectReward, FeedbackTask
from instance_composer.training.noise import add_noise, drop, signal_to_noise_weights

FIRST = BatchPosition(0, 0, 0, 1, 1)


def settings(**changes) -> Settings:
    values = {
        "steps": 4,
        "batch": 4,
        "learning_rate": 2e-3,
        "warm_up": 0,
        "every_sample": 0,
        "every_checkpoint": 0,
    }
    return Settings(**{**values, **changes})


def make_task(kind: str, pipeline, latents: LatentSet):
    torch.manual_seed(0)
    if kind == "autoencoder":
        return AutoencoderTask(side=64, crop=32, autoencoder=tiny_vae())
    if kind == "base":
        return TextToImageTask(pipeline, [latents])
    if kind == "feedback":
        prompts = ["a red circle", "a blue square and a green star on grey", "a small star", *"abcdef"]
        return FeedbackTask(pipeline, tiny_rewards_of_two_aspects(), prompts, (64, 64))
    examples = [ShapesWorld(5, 64, 64)[number].layout for number in range(2)]
    return IFAdapterTask(pipeline, make_adapter(pipeline.unet, small=True), [latents], 1.0, examples=examples)


KINDS = ["autoencoder", "base", "ifadapter", "feedback"]


def tiny_rewards_of_two_aspects() -> list[AspectReward]:
    metadata = {**HEADS, "words": WORDS}
    model = RewardModel.from_state_dict(tiny_state(), metadata)
    tokenizer = RewardTokenizer.of_words(WORDS, model.config.tokens)
    return [AspectReward("attribute", model, tokenizer), AspectReward("spatial", model, tokenizer)]


def open_gates(adapter: IFAdapter) -> None:
    for layer in adapter.attention.values():
        torch.nn.init.constant_(layer.alpha, 0.5)


def error_on(task, batch) -> float:
    """The loss on one batch with noise that is always the same."""
    task.objective.eval()
    with torch.no_grad():
        value = task.objective(batch, generator_at(FIRST, 0))["loss"]
    task.after_backward()
    return float(value)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps_lower_the_loss(kind, pipeline, latents, tmp_path):
    task = make_task(kind, pipeline, latents)
    if kind == "ifadapter":
        # Ten steps would be spent on opening the gates; what is behind them is to be seen learning.
        open_gates(task.adapter)
    batch = task.batch(FIRST, 4, 0)
    before = error_on(task, batch)
    trainer = Trainer(task, settings(steps=10), tmp_path)
    for _ in range(10):
        trainer.advance()
    assert error_on(task, batch) < before


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_a_straight_one(kind, tiny_model, latents, tmp_path):
    straight = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "straight")
    for _ in range(4):
        straight.advance()
    first = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "resumed")
    first.advance()
    first.advance()
    first.save()
    first.advance()
    resumed = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "resumed")
    assert resumed.step == 2
    resumed.advance()
    resumed.advance()
    one, two = straight.state(), resumed.state()
    assert one["weights"].keys() == two["weights"].keys()
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
    pairs = zip(one["average"]["shadow_params"], two["average"]["shadow_params"], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_only_the_adapter_learns(pipeline, latents, tmp_path):
    task = make_task("ifadapter", pipeline, latents)
    parts = ("unet", "text_encoder", "text_encoder_2", "vae")
    before = {part: [p.clone() for p in getattr(pipeline, part).parameters()] for part in parts}
    trainer = Trainer(task, settings(), tmp_path)
    trainer.run()
    for part in parts:
        for old, new in zip(before[part], getattr(pipeline, part).parameters(), strict=True):
            assert torch.equal(old, new)
    assert all(name.startswith("adapter.") for name in trainer.state()["weights"])


def test_every_weight_of_the_adapter_gets_a_gradient_once_the_gates_are_open(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    open_gates(task.adapter)
    task.objective(task.batch(FIRST, 4, 0), generator_at(FIRST, 0))["loss"].backward()
    task.after_backward()
    without = [name for name, p in task.adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_fresh_adapter_changes_nothing_and_leaves_nothing_behind(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules())
    fresh = error_on(task, batch)
    batch["boxes"] = batch["boxes"] * 0.5
    task.objective.region_weight = 0.0
    moved = error_on(task, batch)
    batch["boxes"] = batch["boxes"] * 2
    assert error_on(task, batch) == moved
    task.objective.region_weight = 1.0
    assert error_on(task, batch) == fresh
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules())


def test_gradient_checkpointing_gives_the_same_gradients(tiny_model, latents):
    gradients = []
    for checkpointing in (False, True):
        pipeline = load_sdxl(tiny_model)
        task = make_task("ifadapter", pipeline, latents)
        open_gates(task.adapter)
        if checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        task.objective.train()
        task.objective(task.batch(FIRST, 2, 0), generator_at(FIRST, 0))["loss"].backward()
        task.after_backward()
        gradients.append([p.grad for p in task.adapter.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-6)


def test_dropped_instances_have_no_words_left(pipeline, latents):
    """With every instance dropped, the tokens are those of the adapter's unconditional branch."""
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 3, 0)
    tokens = task.objective._instance_tokens(batch, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(
        tokens, task.adapter.unconditional_tokens(batch["boxes"]), rtol=1e-4, atol=1e-5
    )


def test_shares_of_dropped_captions():
    dropped = drop((20_000,), 0.15, generator_at(FIRST, 0)).float().mean()
    assert float(dropped) == pytest.approx(0.15, abs=0.01)


def test_the_adapter_sits_where_the_published_one_does():
    """In SDXL's own proportions: 16 layers, the numbers of the published file."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 32, 32),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(1, 2, 4),
            cross_attention_dim=8,
            use_linear_projection=True,
        )
    published = [49, 51, 53, 55, 69, 71, 73, 75, 89, 91, 93, 95, 121, 123, 125, 127]
    assert sorted(adapted_layers(unet)) == published


@pytest.mark.parametrize("kind", KINDS)
def test_samples_and_exports(kind, pipeline, latents, tmp_path):
    task = make_task(kind, pipeline, latents)
    Trainer(task, settings(steps=1, every_sample=1), tmp_path).run()
    assert min(Image.open(tmp_path / "samples/000001.png").size) > 64
    model = tmp_path / "model"
    if kind == "ifadapter":
        adapter = IFAdapter.load(model / "ifadapter.safetensors")
        assert adapter.config == task.adapter.config
    elif kind == "base":
        again = load_sdxl(model)
        assert again.unet.config["block_out_channels"] == pipeline.unet.config["block_out_channels"]
    elif kind == "feedback":
        assert open_unet(model).structure.width == pipeline.unet.config["block_out_channels"][0]
    else:
        assert (model / "vae" / "diffusion_pytorch_model.safetensors").is_file()


def test_normalized_latents_have_unit_spread_and_the_same_pictures():
    torch.manual_seed(0)
    autoencoder = tiny_vae().requires_grad_(False)
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    before = posterior(autoencoder, pictures)
    picture = decode(autoencoder, before.mode())
    normalize_latents(autoencoder, pictures)
    after = posterior(autoencoder, pictures)
    scaled = after.mode() * autoencoder.config["scaling_factor"]
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(decode(autoencoder, after.mode()), picture, atol=1e-4, rtol=1e-3)
    # Noise relative to the spread of the means stays as it was.
    ratio = (after.std.mean(dim=(0, 2, 3)) / after.mean.std(dim=(0, 2, 3))) / (
        before.std.mean(dim=(0, 2, 3)) / before.mean.std(dim=(0, 2, 3))
    )
    torch.testing.assert_close(ratio, torch.ones(4), atol=1e-3, rtol=0)


def test_weights_of_noise_levels():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    timesteps = torch.tensor([0, 999])
    kept = scheduler.alphas_cumprod[timesteps]
    noise_to_signal = (1 - kept) / kept
    torch.testing.assert_close(signal_to_noise_weights(scheduler, timesteps, 0.5), noise_to_signal.sqrt())
    torch.testing.assert_close(signal_to_noise_weights(scheduler, timesteps, 1.0), noise_to_signal)
    assert torch.equal(signal_to_noise_weights(scheduler, timesteps, 0.0), torch.ones(2))


def test_noise_offset_moves_the_means_of_channels_alone():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents = torch.randn(64, 4, 16, 16)
    plain = add_noise(latents, scheduler, generator_at(FIRST, 0))
    moved = add_noise(latents, scheduler, generator_at(FIRST, 0), offset=0.5)
    assert plain[1].mean(dim=(2, 3)).std().item() == pytest.approx(1 / 16, rel=0.15)
    means = moved[1].mean(dim=(2, 3))
    assert means.std().item() == pytest.approx((0.5**2 + 1 / 16**2) ** 0.5, rel=0.15)
    # It is drawn after everything else but the timesteps, and is part of what is to be predicted.
    torch.testing.assert_close(
        moved[1] - means[..., None, None], plain[1] - plain[1].mean((2, 3), keepdim=True)
    )
    kept = scheduler.alphas_cumprod[moved[2]][:, None, None, None]
    torch.testing.assert_close(moved[0], kept.sqrt() * latents + (1 - kept).sqrt() * moved[1])


def test_padding_that_no_phrase_needs_changes_no_token(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)
    ids, without = batch["phrases"], torch.tensor([False, True, False, False])
    longest = int(ids.mask.sum(-1).max())
    assert longest < ids.mask.shape[-1]
    tokens = task.objective._instance_tokens(batch, without)
    phrases = encode_tokens((pipeline.text_encoder, pipeline.text_encoder_2), ids[:2], ids.mask)
    worded = ~without.repeat_interleave(torch.tensor(batch["counts"]))
    whole = task.adapter.instance_tokens(
        phrases.hidden_states * worded[:, None, None, None],
        phrases.attention_mask * worded[:, None],
        phrases.eot * worded[:, None],
        batch["boxes"],
    )
    torch.testing.assert_close(tokens, whole, atol=1e-5, rtol=0)


def test_feedback_moves_the_unet_alone(pipeline, latents, tmp_path):
    task = make_task("feedback", pipeline, latents)
    frozen = {
        name: value.clone()
        for name, value in task.objective.named_parameters()
        if not name.startswith("unet.")
    }
    trainer = Trainer(task, settings(steps=1, batch=1), tmp_path)
    trainer.advance()
    assert frozen.keys().isdisjoint(trainer.state()["weights"])
    now = dict(task.objective.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())


@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_the_gradient_of_rewards_reaches_all_of_the_unet_and_nothing_else(mixed, pipeline, latents):
    """In mixed precision too, where steps without a gradient come before the one that has it."""
    task = make_task("feedback", pipeline, latents)
    task.objective.train()
    assert not task.objective.rewards.training
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        loss = task.objective(task.batch(FIRST, 2, 0), generator_at(FIRST, 0))["loss"]
    loss.backward()
    for name, parameter in task.objective.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert reached == name.startswith("unet."), name
    # A bias before a group norm of single channels, as the tiny UNet has them, is taken away again.
    grads = [p.grad for n, p in task.objective.unet.named_parameters() if n.endswith("weight")]
    assert all(bool(grad.any()) for grad in grads)


def test_feedback_raises_the_reward_of_every_judge(pipeline, latents, tmp_path):
    task = make_task("feedback", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)

    def rewards() -> dict[str, float]:
        """Of pictures from noise that is always the same."""
        task.objective.eval()
        with torch.no_grad():
            report = task.objective(batch, generator_at(FIRST, 0))
        return {aspect: float(report[aspect]) for aspect in task.objective.aspects}

    before = rewards()
    trainer = Trainer(task, settings(steps=5), tmp_path)
    for _ in range(5):
        trainer.advance()
    after = rewards()
    assert all(after[aspect] > before[aspect] for aspect in before), (before, after)


def test_feedback_asks_for_no_more_than_two_deviations(pipeline, latents):
    task = make_task("feedback", pipeline, latents)
    batch = task.batch(FIRST, 2, 0)
    report = task.objective(batch, generator_at(FIRST, 0))
    lacking = sum(2 - report[aspect].item() for aspect in ("attribute", "spatial"))
    for model in task.objective.rewards:
        model.config = replace(model.config, mean=model.config.mean - 100 * model.config.std)
    content = task.objective(batch, generator_at(FIRST, 0))
    content["loss"].backward()
    assert report["loss"].item() == pytest.approx(1e-3 * lacking, rel=1e-4)
    assert content["loss"].item() == 0.0
    assert all(not p.grad.any() for p in task.objective.unet.parameters() if p.grad is not None)


def test_pictures_without_instances_are_left_out(pipeline, latents):
    bare = Layout((), Canvas(64, 64), "nothing").to_dict()
    mixed = latent_set(latents.latents(range(3)), [bare, latents.document(1), latents.document(2)])
    task = IFAdapterTask(pipeline, make_adapter(pipeline.unet, small=True), [mixed])
    assert task.describe()["sets"] == [[2, 64, 64]]
    with pytest.raises(SourceError, match="nothing to learn"):
        IFAdapterTask(
            pipeline, make_adapter(pipeline.unet, small=True), [latent_set(latents.latents([0]), [bare])]
        )
