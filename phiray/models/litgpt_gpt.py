"""Make a `litgpt.GPT` of Phi-2's architecture in our sizes; importing this imports litgpt.

Source: litgpt 0.5.13, config `phi-2`.
Limits: dense only.
"""

from litgpt import GPT, Config
from torch import nn

from phiray.config.model import PhiConfig
from phiray.errors import ConfigError


def build_gpt(config: PhiConfig) -> nn.Module:
    """Build the model with torch's default weights.

    Raises:
        ConfigError: if the config has a mixture of experts.
    """
    if config.moe is not None:
        raise ConfigError(
            "model.moe is set, but LitGPT's Phi-2 is dense. Set model.moe=null, or train the "
            "stage `scratch`."
        )
    gpt: nn.Module = GPT(
        Config.from_name(
            "phi-2",
            vocab_size=config.vocab_size,
            padded_vocab_size=config.vocab_size,
            block_size=config.max_position_embeddings,
            n_layer=config.num_hidden_layers,
            n_embd=config.hidden_size,
            n_head=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            rotary_percentage=config.partial_rotary_factor,
            rope_base=config.rope_theta,
            norm_eps=config.layer_norm_eps,
        )
    )
    return gpt
