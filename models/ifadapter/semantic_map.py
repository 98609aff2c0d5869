"""The instance semantic map: the term that an IFAdapter adds to the cross-attention of one layer.

The result equals that of the published algorithm, which computes ten full-size maps per sample. Both
computations here read only the cells that an instance's region touches, because everything the published
algorithm computes elsewhere is zero or a constant:

- an instance's features are zero outside its region, so pooling needs only their sum, their maximum and
  the number of cells of the whole grid;
- its gate logit outside the region is the bias of the last convolution times the area gate;
- a slot without instance has half that bias as its logit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..regions import Placement
from .gate import Gate
from .prompt import StackedPrompts
from .semantic_map_cropped import cropped_semantic_map
from .semantic_map_gathered import gathered_semantic_map
from .semantic_map_listed import ListedSemanticMap, is_small


def semantic_map(
    query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement, occlusion: float = 0.0
) -> Tensor:
    """The term added to one layer's attention before its output projection, tanh gate included.

    query: (R, L, C) the layer's frozen query projection, L = h * w cells; the R rows repeat the rows of the
    placement. keys, values: (G, P, heads, N, C / heads) of all P instances as `InstanceAttention.keys_values`
    makes them, for G prompts with R / G consecutive rows each. Returns (R, L, C) in the query's dtype; the
    arithmetic is float32.

    A CPU is kept busy by one instance after the other on its own rectangle; a GPU waits for launches, so
    there all instances are computed together. So they are where weights are trained, on both, and without
    gradients on small grids, where a CPU waits for operations too. `occlusion`: see `occluded`; at 0 the
    published sum.

    Source: IFAdapter, equations 4-8, as the released code computes them: the area term multiplies the gate
    logit, and the softmax runs over ten slots.
    """
    height, width = placement.grid
    rows, length = query.shape[:2]
    if length != height * width:
        raise ValueError(f"{length} query tokens do not fill a grid of {height} x {width} cells")
    if rows % (len(keys) * placement.rows):
        raise ValueError(
            f"a batch of {rows} rows does not hold {len(keys)} prompts, placed in {placement.rows} rows, "
            "equally often; give as many rows to each"
        )
    if not placement.indices:
        return torch.zeros_like(query)
    if not occlusion and not torch.is_grad_enabled() and is_small(placement, query.shape[-1]):
        return ListedSemanticMap(keys, values, gate, placement, rows)(query)
    trained = gate.trained or (torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad))
    compute = cropped_semantic_map if query.device.type == "cpu" and not trained else gathered_semantic_map
    return compute(query, keys, values, gate, placement, occlusion)


def prompts_semantic_map(
    query: Tensor,
    prompts: StackedPrompts,
    number: int,
    gate: Gate,
    placement: Placement,
    occlusion: float = 0.0,
) -> Tensor:
    """The same for layer `number` of the prompts of a run, without gradients, bit for bit.

    On a CPU with small grids what does not depend on the query is made once and kept with the prompts.
    """
    plain = not occlusion and not torch.is_grad_enabled()
    # What is made in inference mode may be written in inference mode alone.
    key = (number, gate, placement, len(query), torch.is_inference_mode_enabled())
    if plain and key in prompts.made:
        return prompts.made[key](query)
    keys, values = prompts.keys[number], prompts.values[number]
    if not plain or not is_small(placement, query.shape[-1]):
        return semantic_map(query, keys, values, gate, placement, occlusion)
    made = prompts.made[key] = ListedSemanticMap(keys, values, gate, placement, len(query))
    return made(query)
