"""The thresholds that the compiled multigrid and the one in tensor operations share."""

from gabp.kernels.cpu import extension
from gabp.kernels.torch import aggregation, multigrid_levels


def test_both_backends_aggregate_by_the_same_thresholds():
    constants = extension.multigrid_constants()
    assert constants == {
        "coupling_threshold": aggregation._WEAKEST_LINK,
        "dominance_threshold": aggregation._DOMINANT,
        "largest_aggregate": aggregation._LARGEST_CLUSTER,
        "singular_diagonal": aggregation._SINGULAR,
        "largest_coarsening_ratio": multigrid_levels._LEAST_CONTRACTION,
        "smallest_inner_share": multigrid_levels._LEAST_INNER,
        "pivot_rounding": multigrid_levels._ROUNDING,
        "full_sweep_floor": multigrid_levels._WHOLE_SWEEP,
        "half_sweep_floor": multigrid_levels._HALF_SWEEP,
        "singular_pivot": multigrid_levels._SMALL_PIVOT,
    }
