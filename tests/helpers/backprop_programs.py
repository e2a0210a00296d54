"""Functions to differentiate, with their inputs: everything that ordinary torch code does."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Program = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def module(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return make().double()


def mlp() -> Program:
    def loss(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, W3: Tensor) -> Tensor:
        return (torch.relu(F.linear(torch.tanh(F.linear(x, W1, b1)), W2)) @ W3.T).square().mean()

    return loss, (random(4, 5), random(8, 5, seed=1), random(8, seed=2), random(6, 8, seed=3), random(2, 6, seed=4))


def residual_convolution() -> Program:
    def loss(image: Tensor, kernel1: Tensor, kernel2: Tensor, weight: Tensor) -> Tensor:
        h = F.conv2d(image, kernel1, padding=1)
        h = h + F.conv2d(F.relu(F.layer_norm(h, h.shape[1:])), kernel2, padding=1)
        return F.cross_entropy(F.max_pool2d(h, 2).flatten(1) @ weight, torch.tensor([0, 2]))

    return loss, (random(2, 3, 6, 6), random(4, 3, 3, 3, seed=1), random(4, 4, 3, 3, seed=2), random(36, 3, seed=3))


def attention() -> Program:
    def loss(x: Tensor, Wq: Tensor, Wk: Tensor, Wv: Tensor) -> Tensor:
        q, k, v = x @ Wq, x @ Wk, x @ Wv
        return (torch.softmax(q @ k.mT / 2, dim=-1) @ v).square().sum()

    return loss, (random(2, 5, 4), *(random(4, 4, seed=s) for s in (1, 2, 3)))


def fused_attention() -> Program:
    return lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True).sin().sum(), (random(2, 5, 4),)


def recurrent_shared() -> Program:
    def loss(W: Tensor, u: Tensor, x: Tensor) -> Tensor:
        h = torch.zeros(4, dtype=torch.float64)
        for step in x:
            h = torch.tanh(W @ h + u * step)
        return h.sum()

    return loss, (random(4, 4), random(4, seed=1), random(6, seed=2))


def lstm() -> Program:
    net = module(lambda: nn.LSTM(3, 4, num_layers=2))
    return lambda x: net(x)[0].square().sum(), (random(4, 2, 3),)


def batch_norm_in_place() -> Program:
    net = module(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten()))
    return lambda x: net(x).square().sum(), (random(2, 1, 5, 5),)


def scalar_example() -> Program:
    return lambda x: torch.sin(x) * x**2, (torch.tensor(0.7, dtype=torch.float64),)


def weight_shared_three_times() -> Program:
    def rnn(w: Tensor, x: Tensor) -> Tensor:
        h = x
        for _ in range(3):
            h = torch.tanh(w * h)
        return h

    return rnn, (torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))


def random_dag() -> Program:
    """16 nodes, each a tanh of a weighted sum of up to three earlier ones."""
    generator = torch.Generator().manual_seed(16)
    parents = [torch.randperm(v, generator=generator)[: min(v, 3)].tolist() for v in range(16)]
    weight = torch.randn(16, 3, dtype=torch.float64, generator=generator)

    def dag(x: Tensor) -> Tensor:
        nodes = [x[0]]
        for v in range(1, 16):
            total = sum((weight[v, i] * nodes[u] for i, u in enumerate(parents[v])), x[v])
            nodes.append(torch.tanh(total))
        return nodes[-1]

    return dag, (random(16, seed=6),)


def chain() -> Program:
    return lambda x: reduce(lambda h, _: torch.sin(h), range(999), x).sum(), (random(3),)


def partial_writes() -> Program:
    def fn(x: Tensor) -> Tensor:
        h = x * 1
        out = torch.zeros(3, dtype=torch.float64)
        out[0] = h[1]
        out[1:] += h[:2]
        flat = out.view(3, 1)
        flat.mul_(2)
        h.mul_(out)
        return (out.sin() * h[:, None]).sum()

    return fn, (random(3),)


def writes_into_a_result_of_constants() -> Program:
    W = random(3, 3, seed=1)
    return lambda x: (W @ W[0]).add_(x).sigmoid_().sum(), (random(3),)


def overlapping_views() -> Program:
    def fn(x: Tensor) -> Tensor:
        table = x.outer(x)
        windows = table.T[1:]
        table.diagonal().mul_(2)
        windows[:, 0] = x[1:]
        return (table * windows.sum()).sin().sum()

    return fn, (random(4),)


def splits_and_indices() -> Program:
    def fn(x: Tensor) -> Tensor:
        a, b, c = x.unbind()
        top, place = x.max(dim=0)
        chosen = x[torch.tensor([0, 0, 2])].index_put((torch.tensor([1]),), b)
        return torch.stack([a, b, c * place]).prod() + top + torch.logsumexp(chosen, 0) + torch.cumsum(x, 0)[1]

    return fn, (random(3),)


def linear_algebra() -> Program:
    return lambda A: torch.linalg.inv(A).sum() + torch.logdet(A @ A.T), (random(4, 4),)


def complex_values() -> Program:
    return lambda x: torch.fft.rfft(x).abs().square().sum().sqrt(), (random(8),)


def sparse_constant() -> Program:
    A = torch.eye(3, dtype=torch.float64).to_sparse()
    return lambda x: torch.sparse.mm(A, x[:, None]).square().sum(), (random(3),)


def vectorised_map() -> Program:
    return lambda x: torch.vmap(lambda row: (row * row.sum()).sin())(x).sum(), (random(4, 3),)


def embedding() -> Program:
    return lambda W: F.embedding(torch.tensor([0, 1, 1]), W).square().sum(), (random(5, 3),)


def transformer() -> Program:
    layer = module(lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True))
    return lambda x: layer(x).square().sum(), (random(2, 3, 4),)


def contractions_and_orders() -> Program:
    def fn(a: Tensor, b: Tensor) -> Tensor:
        product = torch.einsum("bij,bjk,k->bi", a, b, torch.arange(4, dtype=torch.float64))
        best = product.topk(2).values.prod() + product.sort(dim=1).values[:, 0].sum()
        spread = torch.zeros(3, dtype=torch.float64).scatter_add(0, torch.tensor([0, 1, 1]), product[0])
        return best + spread.square().sum() + product.gather(1, torch.tensor([[0], [2]])).sum()

    return fn, (random(2, 3, 5), random(2, 5, 4, seed=1))


def lists_in_place() -> Program:
    def fn(x: Tensor) -> Tensor:
        parts = [x * 1, x * 2]
        torch._foreach_mul_(parts, 3.0)
        return (parts[0] * parts[1]).sum()

    return fn, (random(3),)


def recomputed() -> Program:
    return lambda x: checkpoint(lambda y: y.sin().exp(), x, use_reentrant=False).sum(), (random(4),)


def derivative_inside() -> Program:
    return lambda x: torch.func.grad(lambda y: (y**3).sum())(x).sin().sum(), (random(3),)


def branch() -> Program:
    return lambda x: (x.sin() if x.sum() > 0 else x.cos()).sum(), (random(3),)


def detached_and_unrecorded() -> Program:
    def fn(x: Tensor) -> Tensor:
        with torch.no_grad():
            mean = x.mean()
        return (x * mean).sum() * x.detach().sum()

    return fn, (random(3),)


def unused_input() -> Program:
    return lambda x, y: x.sum() + 0 * x[0], (random(3), random(2))


def same_tensor_twice() -> Program:
    x = random(3)
    return lambda a, b: (a * b.sin()).sum(), (x, x)


def identity() -> Program:
    return lambda x: x, (torch.tensor(2.0, dtype=torch.float64),)


EVERY = (
    mlp,
    residual_convolution,
    attention,
    fused_attention,
    recurrent_shared,
    lstm,
    batch_norm_in_place,
    scalar_example,
    weight_shared_three_times,
    random_dag,
    chain,
    partial_writes,
    writes_into_a_result_of_constants,
    overlapping_views,
    splits_and_indices,
    linear_algebra,
    complex_values,
    sparse_constant,
    vectorised_map,
    embedding,
    transformer,
    contractions_and_orders,
    lists_in_place,
    recomputed,
    derivative_inside,
    branch,
    detached_and_unrecorded,
    unused_input,
    same_tensor_twice,
    identity,
)
SCALAR = (scalar_example, weight_shared_three_times, random_dag, recurrent_shared)
