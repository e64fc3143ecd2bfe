"""Training on the base in 4 or 8 bits: it learns, it is kept, and the base is as it was."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import weakref

import architectures
import pytest
import torch
from conftest import PROBE, beside_places, biased, differences, logits, state_of

import nbpeft
import nbpeft.session
from nbpeft.errors import AdapterError, ModelError, RequestError, Stopped
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.places import watch
from nbpeft.precision import AS_LOADED, originals
from nbpeft.session import current

STRONG = {"max_steps": 2, "learning_rate": 1e-2}


def trained_by_runs():
    """(method, precision) of every legal pair; fp4 differs from nf4 in a table alone."""
    yield "lora", "fp4"
    for method in methods:
        if method.needs <= objectives.get("sft").gives:
            yield from ((method.name, kind) for kind in sorted(method.trains_on - {"fp4"}))


def precision_of(model):
    return current().handle(model).precision


def quantized_logits(model, kind):
    """Of the base alone, in that precision."""
    with current().handle(model).answering_as(None, kind):
        return logits(model)


@pytest.mark.parametrize(("method", "kind"), list(trained_by_runs()))
def test_every_method_trains_on_it(tune, monkeypatch, method, kind):
    if method == "bitfit":  # Llama has none
        tune.model = biased(tune.model)
    before, base = state_of(tune.model, tune.tokenizer), logits(tune.model)
    run = tune("one", method=method, quantize=kind, **STRONG)
    assert not beside_places(differences(before, state_of(tune.model, tune.tokenizer)))
    assert torch.equal(logits(tune.model), base)
    assert (run.record.state, precision_of(tune.model).now) == (kind, AS_LOADED)

    bare = quantized_logits(tune.model, kind)
    assert not torch.equal(bare, base)
    model = nbpeft.attach("one", model=tune.model)
    assert precision_of(tune.model).now == kind
    tuned = logits(model)
    assert not torch.equal(tuned, bare)
    # What the run measured at its end is what is attached.
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]

    nbpeft.attach(None, model=tune.model)
    assert torch.equal(logits(tune.model), base)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.equal(logits(nbpeft.attach("one", model=tune.model)), tuned)


def test_what_is_attached_is_what_the_run_measured_at_its_end(tune, chats):
    """TRL rounds what is trained over a quantized base to bf16, in tensors that a guard undoes."""
    held_out = chats.select(range(8)) if hasattr(chats, "select") else chats[:8]
    run = tune("one", method="qlora", eval=held_out, max_steps=4, learning_rate=1e-2)
    losses = nbpeft.evaluate(held_out, ["base", "one"], model=tune.model, tokenizer=tune.tokenizer)
    assert losses["one"] == pytest.approx(run.metrics["held_out_loss"], abs=2e-3)
    assert losses["base"] != pytest.approx(run.metrics["held_out_loss_before"], abs=1e-6)
    nbpeft.attach("one", model=tune.model)
    own = [p for n, p in tune.model.named_parameters() if "lora_" in n]
    assert {p.dtype for p in own} == {torch.float32}


@pytest.mark.parametrize("name", ["gpt2", "t5", "gemma", "qwen3"])
@pytest.mark.parametrize("method", ["qlora", "lora8"])
def test_on_other_architectures(tune, name, method):
    tune.model = architectures.build(name)
    rows = [{"prompt": f"Say {w}.", "completion": f"{w}, {w}!"} for w in ("red", "green", "blue")]
    before = architectures.outputs(tune.model)
    run = tune("one", method=method, data=rows * 4, eval=0, max_length=64, **STRONG)
    assert torch.equal(architectures.outputs(tune.model), before)
    nbpeft.attach("one", model=tune.model)
    with current().handle(tune.model).answering_as(None, run.record.state):
        bare = architectures.outputs(tune.model)
    assert not torch.equal(architectures.outputs(tune.model), bare)


class TestWhateverHappens:
    @pytest.fixture(autouse=True, params=[None, "earlier", "on nf4"])
    def attached(self, request, tune):
        """What was attached before the run, and is again after it."""
        if request.param:
            quantize = "nf4" if request.param == "on nf4" else None
            tune("before", **STRONG, rank=2, quantize=quantize)
            nbpeft.attach("before", model=tune.model)
        state, answers = state_of(tune.model, tune.tokenizer), logits(tune.model)
        now = precision_of(tune.model).now
        yield
        assert precision_of(tune.model).now == now
        assert torch.equal(logits(tune.model), answers)
        if request.param != "on nf4":  # whose layers are filled anew
            found = differences(state, state_of(tune.model, tune.tokenizer))
            # pytest writes into the environment whether this is a test's setup or teardown.
            assert set(beside_places(found)) <= {"environment"}

    @pytest.mark.parametrize("method", ["qlora", "lora8"])
    def test_success(self, tune, method):
        tune("one", method=method)

    def test_an_error_within_a_step(self, tune, monkeypatch):
        def fails(*_, **__):
            raise OSError("the disk went away")

        monkeypatch.setattr(watch.Watch, "on_step_end", fails)
        with pytest.raises(OSError, match="went away"):
            tune("one", method="qlora")

    def test_an_error_while_it_is_quantized(self, tune, monkeypatch):
        from nbpeft.precision.layers import QuantizedLayer

        fill, calls = QuantizedLayer.fill, []

        def fails(layer, quantizer):
            calls.append(quantizer.quantization_config.bnb_4bit_quant_type)
            if calls[-1] == "fp4" and len(calls) >= calls.index("fp4") + 5:
                raise torch.OutOfMemoryError("none left")
            fill(layer, quantizer)

        monkeypatch.setattr(QuantizedLayer, "fill", fails)
        with pytest.raises(torch.OutOfMemoryError, match="none left"):
            tune("one", method="qlora", quantize="fp4")

    def test_stop(self, tune, monkeypatch):
        def stops(self, args, state, control, **_):
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return original(self, args, state, control)

        original = watch.Watch.on_step_end
        monkeypatch.setattr(watch.Watch, "on_step_end", stops)
        with pytest.raises(Stopped, match="after step 2"):
            tune("one", method="qlora", max_steps=5)
        assert nbpeft.adapters()["one"].state == "nf4"

    def test_a_dry_run(self, tune):
        plan = tune("one", method="qlora", dry_run=True).plan
        assert plan.weights.quantized < plan.weights.as_loaded / 3
        assert plan.total_parameters == 1_410_688


def test_a_stopped_run_goes_on_to_the_same_weights(tune, monkeypatch):
    tune("whole", method="qlora", max_steps=4)

    def stops(self, args, state, control, **_):
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, args, state, control)

    original = watch.Watch.on_step_end
    with monkeypatch.context() as patched:
        patched.setattr(watch.Watch, "on_step_end", stops)
        with pytest.raises(Stopped):
            tune("stopped", method="qlora", max_steps=4)
    tune("stopped", method="qlora", max_steps=4, resume=True)
    found = [logits(nbpeft.attach(name, model=tune.model)) for name in ("whole", "stopped")]
    assert torch.equal(*found)


def test_going_on_from_an_adapter_stays_on_its_precision(tune):
    tune("first", quantize="int8")
    assert tune("second", from_="first").record.state == "int8"
    tune("third", method="qlora")
    with pytest.raises(RequestError, match="third@1 was trained with qlora"):
        tune("fourth", from_="third")


def test_across_precisions_in_any_order(tune):
    base = logits(tune.model)
    found = {}
    for name, method in (("a", "lora"), ("b", "qlora"), ("c", "lora8"), ("d", "prompt")):
        quantize = "nf4" if name == "d" else None
        tune(name, method=method, quantize=quantize, **STRONG)
        found[name] = logits(nbpeft.attach(name, model=tune.model))
        nbpeft.attach(None, model=tune.model)
    for name in ("c", "b", "d", "a", "d", "c", "a", "b", None):
        model = nbpeft.attach(name, model=tune.model)
        assert torch.equal(logits(model), base if name is None else found[name]), name


def test_the_attach_line_says_that_the_base_has_moved(tune):
    tune("one", method="qlora")
    session, handle = current(), current().handle(tune.model)
    assert "weights are nf4 from now on" in session.attach(handle, "one").notes[0]
    assert session.attach(handle, "one").notes == ()
    assert "weights are as loaded from now on" in session.attach(handle, None).notes[0]


def test_a_comparison_heads_each_column_with_its_precision(tune):
    for name, method in (("plain", "lora"), ("four", "qlora"), ("eight", "lora8")):
        tune(name, method=method, **STRONG)
    tune("four-too", method="qlora", seed=7, **STRONG)
    nbpeft.attach("four", model=tune.model)
    names = ["base", "four", "plain", "eight", "four-too"]
    ask = {"prompts": ["Who are you?", "Hi!"], "model": tune.model, "tokenizer": tune.tokenizer,
           "max_new_tokens": 8}  # fmt: skip
    together = nbpeft.compare(names, **ask)
    states = [together.figures[name].state for name in names]
    assert states == [AS_LOADED, "nf4", AS_LOADED, "int8", "nf4"]
    assert ("base weights", *states) in together.table().rows
    assert (precision_of(tune.model).now, current().attached()) == ("nf4", ["four@1"])
    assert together.figures["four"].together == 2
    for column, name in enumerate(names):
        alone = nbpeft.compare([name], **ask)
        assert [row[0] for row in alone.answers] == [row[column] for row in together.answers], name


class TestInPlace:
    def test_a_run_quantizes_for_good(self, tune):
        tune("before", **STRONG)
        run = tune("one", method="qlora", in_place=True, **STRONG)
        precision = precision_of(tune.model)
        assert (precision.now, precision.given_up) == ("nf4", True)
        assert any("for good" in note for note in run.plan.notes)
        bare = logits(tune.model)
        assert not torch.equal(logits(nbpeft.attach("one", model=tune.model)), bare)
        nbpeft.attach(None, model=tune.model)
        assert torch.equal(logits(tune.model), bare)
        with pytest.raises(ModelError, match="for good"):
            nbpeft.attach("before", model=tune.model)
        assert torch.equal(logits(tune.model), bare)
        # What doesn't say otherwise stands on the base as it is now.
        assert tune("two", **STRONG).record.state == "nf4"
        with pytest.raises(ModelError, match="for good"):
            tune("three", quantize="int8")

    def test_not_under_an_adapter_that_stands_on_the_base_as_loaded(self, tune):
        tune("before")
        nbpeft.attach("before", model=tune.model)
        with pytest.raises(RequestError, match="detach it first"):
            tune("one", method="qlora", in_place=True)
        assert precision_of(tune.model).now == AS_LOADED

    def test_it_has_no_meaning_by_itself(self, tune):
        with pytest.raises(RequestError, match="--quantize nf4"):
            tune("one", in_place=True)

    def test_where_the_originals_can_stay_nowhere_it_is_asked_for(self, tune, monkeypatch):
        tune.model.config._name_or_path = ""
        monkeypatch.setattr(originals, "on_host", lambda _: False)
        monkeypatch.setattr(originals, "free_host_memory", lambda: 0)
        before = logits(tune.model)
        with pytest.raises(ModelError, match="type --in-place"):
            tune("one", method="qlora")
        assert torch.equal(logits(tune.model), before)
        tune("one", method="qlora", in_place=True)


@pytest.mark.parametrize("method", ["full", "last-layers", "diff"])
def test_methods_that_train_the_base_are_refused(tune, method):
    with pytest.raises(RequestError, match=f"{method} trains the base's own weights"):
        tune("one", method=method, quantize="nf4")


@pytest.mark.parametrize(
    ("kind", "words", "says"),
    [
        ("int8", {"use_dora": True}, "use_dora .* --quantize nf4"),
        ("nf4", {"init_lora_weights": "pissa"}, "pissa rewrites the base"),
        ("int8", {"init_lora_weights": "olora"}, "olora rewrites the base"),
    ],
)
def test_variants_that_need_the_weights_whole_are_refused(tune, kind, words, says):
    with pytest.raises(RequestError, match=says):
        tune("one", quantize=kind, **words)


@pytest.mark.parametrize(
    "words", [{"use_dora": True}, {"use_rslora": True}, {"init_lora_weights": "eva"}], ids=str
)
def test_variants_on_4_bits(tune, words):
    tune("one", quantize="nf4", **STRONG, **words)
    bare = quantized_logits(tune.model, "nf4")
    assert not torch.equal(logits(nbpeft.attach("one", model=tune.model)), bare)


class TestLoadedQuantized:
    """A model that the user loaded in 4 bits has no other precision here."""

    @pytest.fixture(autouse=True)
    def loaded(self, tune):
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        tune.model = AutoModelForCausalLM.from_pretrained(
            tune.model.name_or_path, dtype=torch.float32, quantization_config=config
        )

    @pytest.mark.parametrize("method", ["lora", "qlora", "ia3"])
    def test_it_is_trained_as_it_is(self, tune, method):
        base = logits(tune.model)  # where the CPU has AVX512-BF16 it is packed from here on
        before = state_of(tune.model, tune.tokenizer)
        run = tune("one", method=method, **STRONG)
        assert not beside_places(differences(before, state_of(tune.model, tune.tokenizer)))
        assert (run.record.state, run.plan.weights) == (AS_LOADED, None)
        assert run.plan.total_parameters == 1_410_688
        assert not torch.equal(logits(nbpeft.attach("one", model=tune.model)), base)
        nbpeft.attach(None, model=tune.model)
        assert torch.equal(logits(tune.model), base)

    def test_what_can_not_be_is_refused(self, tune):
        with pytest.raises(ModelError, match=r"loaded quantized \(nf4\)"):
            tune("one", method="lora8")
        with pytest.raises(RequestError, match="full trains the base's own weights"):
            tune("one", method="full")


class TestByHand:
    @pytest.mark.parametrize("words", [{"method": "qlora"}, {"method": "ia3", "quantize": "int8"}])
    def test_an_adapter_for_a_loop_of_ones_own(self, tune, monkeypatch, words):
        base = logits(tune.model)
        count = nbpeft.attach("mine", model=tune.model, dry_run=True, **words)
        assert count.weights.quantized < count.weights.as_loaded / 2
        model = nbpeft.attach("mine", model=tune.model, **words)
        assert precision_of(tune.model).now == count.state
        own = [p for p in model.parameters() if p.requires_grad]
        assert sum(p.numel() for p in own) == count.trainable_parameters
        optimizer = torch.optim.SGD(own, lr=0.1)
        for _ in range(2):
            model(input_ids=PROBE).logits.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        tuned = logits(model)
        assert not torch.equal(tuned, quantized_logits(tune.model, count.state))
        nbpeft.save("mine", model=tune.model)
        nbpeft.attach(None, model=tune.model)
        assert torch.equal(logits(tune.model), base)
        monkeypatch.setattr(nbpeft.session, "_current", None)
        assert torch.equal(logits(nbpeft.attach("mine", model=tune.model)), tuned)

    def test_quantize_has_no_meaning_for_an_adapter_that_is_there(self, tune):
        tune("one")
        with pytest.raises(RequestError, match="leave --quantize out"):
            nbpeft.attach("one", model=tune.model, quantize="nf4")


def test_an_adapter_from_elsewhere_on_the_precision_that_is_asked_for(tune):
    folder = tune("one", method="qlora", **STRONG).record.path
    tuned = logits(nbpeft.attach("one", model=tune.model))
    (folder / "nbpeft.json").unlink()
    nbpeft.attach(None, model=tune.model)
    nbpeft.attach(str(folder), model=tune.model, as_="other", quantize="nf4")
    assert torch.equal(logits(tune.model), tuned)


def test_sums_stand_on_one_precision(tune):
    for name, kind in (("a", "nf4"), ("b", "nf4"), ("c", None)):
        tune(name, quantize=kind, **STRONG)
    nbpeft.attach("a+b", model=tune.model)
    assert precision_of(tune.model).now == "nf4"
    with pytest.raises(RequestError, match="other precisions"):
        nbpeft.attach("a+c", model=tune.model)


def test_the_list_says_which_precision(tune):
    tune("one", method="ia3", quantize="fp4")
    assert "ia3 (fp4)" in repr(nbpeft.adapters())
    assert "fp4" in repr(nbpeft.describe("one", model=tune.model))


def test_a_base_that_was_trained_by_hand_in_4_bits_is_another_one(tune):
    tune("one", method="qlora")
    nbpeft.attach("one", model=tune.model)
    with torch.no_grad():
        tune.model.model.norm.weight[0] += 1
    with contextlib.suppress(AdapterError):
        nbpeft.attach(None, model=tune.model)
    with pytest.raises(AdapterError, match="trained on another model"):
        nbpeft.attach("one", model=tune.model)


def test_a_dropped_model_is_freed(tune):
    tune("one", method="qlora")
    nbpeft.attach("one", model=tune.model)
    layer = weakref.ref(tune.model.model.layers[0].mlp.up_proj)
    root = weakref.ref(tune.model)
    tune.model = None
    gc.collect()
    # The fixture's pair holds the model; what is left of the session must not.
    handle = current()._handles[0]
    assert root() is not None
    assert not any(value is root() for value in vars(handle.precision).values())
    assert layer() is not None


def test_a_record_of_an_unknown_precision_is_no_record(tune):
    import json

    path = tune("one").record.path / "nbpeft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "__import__('os')"}))
    with pytest.raises(AdapterError, match="no adapter 'one'"):
        current().shelf.get("one")
