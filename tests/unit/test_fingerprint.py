"""The fingerprint of a base: the same when loaded again, another when anything of it differs."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nbpeft.session.fingerprint import fingerprint

SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}


def llama(seed=0, **changed):
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES | changed))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a model, as a user has it on disk."""
    folder = tmp_path_factory.mktemp("base")
    llama().save_pretrained(folder)
    return folder


@pytest.fixture
def model():
    return llama()


@pytest.fixture(scope="module")
def known():
    return fingerprint(llama())


def test_sixteen_hex_digits(known):
    assert len(known) == 16
    assert int(known, 16)


def test_the_same_weights_loaded_twice(saved):
    first, second = (LlamaForCausalLM.from_pretrained(saved) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)


def test_saving_a_model_and_loading_it_from_elsewhere_changes_nothing(model, known, tmp_path):
    model.save_pretrained(tmp_path / "elsewhere")
    assert fingerprint(model) == known
    assert fingerprint(LlamaForCausalLM.from_pretrained(tmp_path / "elsewhere")) == known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pad_token_id", 3),
        ("eos_token_id", [2, 5]),
        ("use_cache", False),
        ("output_hidden_states", True),
        ("return_dict", False),
        ("_name_or_path", "../other/path"),
    ],
)
def test_what_users_set_on_a_loaded_model_changes_nothing(model, known, name, value):
    setattr(model.config, name, value)
    assert fingerprint(model) == known


def test_neither_do_mode_attention_gradients_and_computing(model, known):
    model.set_attn_implementation("eager")
    model.train().requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert fingerprint(model) == known


def test_one_weight_of_any_tensor(model, known):
    for name, parameter in model.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-3
        assert fingerprint(model) != known, name
        with torch.no_grad():
            parameter.copy_(kept)
    assert fingerprint(model) == known


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": 32},
        {"num_hidden_layers": 3},
        {"vocab_size": 33},
        {"rms_norm_eps": 1e-3},  # no shape and no weight tells it
        {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8},
        {"seed": 1},
    ],
    ids=str,
)
def test_another_config_or_other_weights(known, changed):
    assert fingerprint(llama(**changed)) != known


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_another_dtype(model, known, dtype):
    assert fingerprint(model.to(dtype)) != known


def test_a_dtype_counts_where_no_value_does():
    """Zeros are the same numbers in every precision."""
    zeros, halves = llama(), llama()
    for parameter in (*zeros.parameters(), *halves.parameters()):
        parameter.data.zero_()
    assert fingerprint(zeros) != fingerprint(halves.bfloat16())


def test_a_strided_weight_counts_by_its_values(model, known):
    weight = model.lm_head.weight
    weight.data = weight.data.t().contiguous().t()
    assert not weight.is_contiguous()
    assert fingerprint(model) == known
