"""Small networks, and checks of their zeros that use no code of the package."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import OPTConfig, OPTForCausalLM


class PrunedNetwork(nn.Module):
    """Two pruned linear layers with a norm between them, an embedding, and an output layer tied to it."""

    def __init__(self, *, hidden: int = 11, dtype: torch.dtype = torch.float32) -> None:
        """Prune about half of both layers. A quarter of the zeros are -0.0."""
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Embedding(19, 12)
        self.up = nn.Linear(12, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.down = nn.Linear(hidden, 12)
        self.head = nn.Linear(12, 19, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)
            for layer in (self.up, self.down):
                layer.weight[torch.rand(layer.weight.shape, generator=generator) < 0.5] = 0.0
                layer.weight[torch.rand(layer.weight.shape, generator=generator) < 0.25] *= -0.0
            self.embedding.weight[3, 4] = 0.0
        self.head.weight = self.embedding.weight
        self.to(dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits, [batch, 19]."""
        hidden = self.down(torch.tanh(self.norm(self.up(self.embedding(tokens)))))
        return self.head(hidden)

    def loss(self, seed: int) -> Tensor:
        """Return the loss of one of many random batches of eight tokens."""
        return loss_of(self, seed)


def loss_of(model: nn.Module, seed: int) -> Tensor:
    """Return the loss of a `PrunedNetwork` that may be inside of wrappers."""
    tokens = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(seed))
    return nn.functional.cross_entropy(model(tokens[0]), tokens[1])


def norms_in_float64(seeds: range) -> tuple[float, float]:
    """Return the norm of the summed gradients without the pruned entries, and with them."""
    model = PrunedNetwork(dtype=torch.float64)
    for seed in seeds:
        model.loss(seed).backward()
    whole = sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None)
    masked = sum(
        float((getattr(model, n).weight.grad[z] ** 2).sum()) for n, z in pruned_entries(model).items()
    )
    return (whole - masked) ** 0.5, whole**0.5


def tiny_opt(**sizes: Any) -> OPTForCausalLM:
    """Return a small OPT model with random weights."""
    config = {"vocab_size": 32, "hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 16, "dropout": 0.0}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}
    return OPTForCausalLM(OPTConfig(**{**config, **sizes}))


def train(model: PrunedNetwork, optimizer: torch.optim.Optimizer, steps: int, first_seed: int = 0) -> None:
    """Train the model on the batches of `steps` seeds, from `first_seed` on."""
    for seed in range(first_seed, first_seed + steps):
        optimizer.zero_grad()
        model.loss(seed).backward()
        optimizer.step()


def pruned_entries(model: PrunedNetwork) -> dict[str, Tensor]:
    """Return which entries of the two pruned weights are zero, as booleans."""
    return {name: getattr(model, name).weight.detach() == 0 for name in ("up", "down")}


def assert_exact_zeros(model: PrunedNetwork, pruned: dict[str, Tensor]) -> None:
    """Check that the pruned entries have the bits of +0.0, and that some other entries are not zero."""
    for name, entries in pruned.items():
        weight = getattr(model, name).weight.detach()
        assert not torch.signbit(weight[entries]).any(), f"{name} has -0.0 or negative pruned entries"
        assert torch.count_nonzero(weight[entries]) == 0, f"{name} has pruned entries that are not zero"
        assert torch.count_nonzero(weight[~entries]) > 0
