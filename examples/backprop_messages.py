"""Draw the messages of backpropagation on the factor graph of a small neural network.

    python examples/backprop_messages.py [backprop_messages.png]

Circles are tensors, squares are operators. Forward messages are deltas at the values of the program; backward
messages are derivatives of log-potentials, whose sum at an input is the gradient.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import gabp

SYMBOLS = {"x0": "x", "x1": "W", "x2": "b", "x3": "v"}  # of the inputs


def network(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A hidden layer with a skip connection: ``vᵀ (tanh(W x + b) + x)``."""
    return torch.dot(v, torch.tanh(torch.mv(W, x) + b) + x)


def layout(program) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Positions of variables and factors: factors in columns by depth, inputs just before their first use."""
    depth = dict.fromkeys(program.known, 0)
    factors, variables = {}, {}
    for factor in program.factors:
        column = 1 + max(depth[parent] for parent in factor.parents)
        factors[factor.name] = (2.0 * column - 1, 0.0)
        for output in factor.outputs:
            depth[output] = column
            variables[program.variables[output].name] = (2.0 * column, 0.0)
    heights = {"x0": -1.7, "x1": 1.7, "x2": 1.7, "x3": 1.7}
    for i, height in heights.items():
        users = [f.name for f in program.factors if int(i[1:]) in f.parents]
        variables[i] = (factors[users[0]][0] - 0.6 * (i != "x0"), height)
    return variables, factors


def label(value: torch.Tensor) -> str:
    """The entries of a small tensor."""
    if value.ndim == 0:
        return f"{float(value):.2f}"
    if value.ndim == 1:
        return "(" + ", ".join(f"{float(entry):.2f}" for entry in value) + ")"
    return "\n".join(label(row) for row in value)


def draw(axes, messages: gabp.MessageTrace, direction: str) -> None:
    """One panel: the factor graph, with the messages of one direction along its edges."""
    variables, factors = layout(messages.program)
    colour = "tab:blue" if direction == "forward" else "tab:red"
    draw_edges(axes, messages, direction, colour)
    if direction == "forward":
        values = {m.variable: m.value for m in messages.forward}
        values |= {messages.program.variables[i].name: value for i, value in messages.program.known.items()}
    else:
        values = {name: messages.adjoints[name] for name in SYMBOLS}
    for name, (x, y) in variables.items():
        axes.scatter(x, y, s=700, color="white", edgecolor="black", zorder=3)
        axes.text(x, y, SYMBOLS.get(name, name), ha="center", va="center", fontsize=9, zorder=4)
        if name in values:
            side, align = (-1, "top") if y <= 0 else (1, "bottom")
            weight = "normal" if direction == "forward" else "bold"
            style = {"fontsize": 8, "weight": weight, "color": colour}
            axes.text(x, y + 0.42 * side, label(values[name]), ha="center", va=align, **style)
    for name, (x, y) in factors.items():
        axes.scatter(x, y, s=700, marker="s", color="0.85", edgecolor="black", zorder=3)
        axes.text(x, y, name, ha="center", va="center", fontsize=8, zorder=4)
    axes.set_xlim(-0.2, max(x for x, _ in variables.values()) + 0.8)
    axes.set_ylim(-2.5, 2.8)
    axes.axis("off")


def draw_edges(axes, messages: gabp.MessageTrace, direction: str, colour: str) -> None:
    """An arrow for each message; backward messages to parents with their values."""
    program = messages.program
    variables, factors = layout(program)
    backward = {(m.factor, m.variable): m.value for m in messages.backward}
    for factor in program.factors:
        square = factors[factor.name]
        for name in (program.variables[i].name for i in factor.parents):
            if direction == "forward":
                arrow(axes, variables[name], square, colour)
            else:
                arrow(axes, square, variables[name], colour)
                note(axes, square, variables[name], label(backward[factor.name, name]), colour)
        for output in factor.outputs:
            ends = (square, variables[program.variables[output].name])
            arrow(axes, *(ends if direction == "forward" else ends[::-1]), colour)


def arrow(axes, start, end, colour: str) -> None:
    """The arrow of a message; long slanted ones are curved below the nodes between."""
    slanted = abs(end[0] - start[0]) > 2 and start[1] != end[1]
    bend = 0.25 * (1 if end[0] > start[0] else -1) if slanted else 0.0
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 14, "shrinkB": 14, "lw": 1.2}
    axes.annotate("", xy=end, xytext=start, arrowprops=style | {"connectionstyle": f"arc3,rad={bend}"})


def note(axes, start, end, text: str, colour: str) -> None:
    """The value of a message beside its arrow."""
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    style = {
        "fontsize": 8,
        "color": colour,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        "zorder": 2,
    }
    if start[1] == end[1]:
        axes.text(x, y - 0.42, text, ha="center", va="top", **style)
    elif abs(start[0] - end[0]) > 2:
        axes.text(x - 0.2, y - 0.8, text, ha="center", va="center", **style)
    else:
        axes.text(x + 0.15, y, text, ha="left", va="center", **style)


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "backprop_messages.png"
    x = torch.tensor([0.5, -1.0], dtype=torch.float64)
    W = torch.tensor([[0.8, -0.3], [0.4, 0.9]], dtype=torch.float64)
    b = torch.tensor([0.1, 0.2], dtype=torch.float64)
    v = torch.tensor([1.5, -0.7], dtype=torch.float64)
    gradients, messages = gabp.backprop(network, x, W, b, v, schedule="flooding", return_messages=True)
    print(messages)
    for name, gradient in zip(SYMBOLS.values(), gradients, strict=True):
        print(f"  d/d{name}  {gradient.tolist()}")
    figure, panels = plt.subplots(2, 1, figsize=(11, 8.5), constrained_layout=True)
    for axes, direction in zip(panels, ("forward", "backward"), strict=True):
        draw(axes, messages, direction)
    panels[0].set_title("forward: deltas at the values", fontsize=11)
    panels[1].set_title(
        "backward: derivatives of the log-potentials; bold, their sums at the inputs: the gradients", fontsize=11
    )
    figure.suptitle(f"vᵀ(tanh(W x + b) + x): {messages.sweeps} flooding sweeps, depth {messages.depth}")
    figure.savefig(path, dpi=130)
    print(f"drawn to {path}")


if __name__ == "__main__":
    main()
