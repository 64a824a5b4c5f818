"""Rename Phi's weights between our names (Hugging Face's) and LitGPT's.

Source: `copy_weights_phi` of litgpt's two conversion scripts, to which tests compare.
Limits: names and one concatenation; values are never changed. Dense models only.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from phiray.errors import CheckpointError

GPT_PREFIX = "gpt."
"""Where `LitgptPhi` holds LitGPT's own model."""

_LITGPT_FROM_PHI = {
    "model.embed_tokens": "transformer.wte",
    "model.final_layernorm": "transformer.ln_f",
    "lm_head": "lm_head",
}
_LITGPT_FROM_PHI_IN_BLOCK = {
    "input_layernorm": "norm_1",
    "self_attn.dense": "attn.proj",
    "mlp.fc1": "mlp.fc",
    "mlp.fc2": "mlp.proj",
}
_PHI_FROM_LITGPT = {name: phi for phi, name in _LITGPT_FROM_PHI.items()}
_PHI_FROM_LITGPT_IN_BLOCK = {name: phi for phi, name in _LITGPT_FROM_PHI_IN_BLOCK.items()}
_PHI_BLOCK = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_LITGPT_BLOCK = re.compile(r"transformer\.h\.(\d+)\.(.+)\.(weight|bias)")
_QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")


def litgpt_from_phi(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a dense Phi's state dict to that of `LitgptPhi`.

    Raises:
        CheckpointError: if a name is not one of dense Phi.
    """
    renamed = {}
    for name, tensor in tensors.items():
        block = _PHI_BLOCK.fullmatch(name)
        if block is None:
            renamed[_rename(name, _LITGPT_FROM_PHI)] = tensor
            continue
        layer, part, ending = block.groups()
        prefix = f"transformer.h.{layer}"
        if part == "self_attn.q_proj":
            attention = f"model.layers.{layer}.self_attn"
            parts = [tensors[f"{attention}.{which}.{ending}"] for which in _QUERY_KEY_VALUE]
            renamed[f"{prefix}.attn.qkv.{ending}"] = torch.cat(parts)  # (3 hidden, ...)
        elif part not in ("self_attn.k_proj", "self_attn.v_proj"):
            renamed[f"{prefix}.{_look_up(part, _LITGPT_FROM_PHI_IN_BLOCK)}.{ending}"] = tensor
    return {GPT_PREFIX + name: tensor for name, tensor in renamed.items()}


def phi_from_litgpt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `LitgptPhi` or `litgpt.GPT` state dict to that of dense Phi.

    Raises:
        CheckpointError: if a name is not one of LitGPT's Phi-2.
    """
    renamed = {}
    for full_name, tensor in tensors.items():
        name = full_name.removeprefix(GPT_PREFIX)
        block = _LITGPT_BLOCK.fullmatch(name)
        if block is None:
            renamed[_rename(name, _PHI_FROM_LITGPT)] = tensor
            continue
        layer, part, ending = block.groups()
        prefix = f"model.layers.{layer}"
        if part == "attn.qkv":
            for which, third in zip(_QUERY_KEY_VALUE, tensor.chunk(3), strict=True):
                renamed[f"{prefix}.self_attn.{which}.{ending}"] = third.contiguous()
        else:
            renamed[f"{prefix}.{_look_up(part, _PHI_FROM_LITGPT_IN_BLOCK)}.{ending}"] = tensor
    return renamed


def _rename(name: str, parts: Mapping[str, str]) -> str:
    part, _, ending = name.rpartition(".")
    return f"{_look_up(part, parts)}.{ending}"


def _look_up(part: str, parts: Mapping[str, str]) -> str:
    if part not in parts:
        raise CheckpointError(
            f"The weights hold {part!r}, which dense Phi-2 does not have. Expected one of "
            f"{', '.join(parts)}. Convert a dense model, without experts."
        )
    return parts[part]
