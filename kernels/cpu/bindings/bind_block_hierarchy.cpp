// The Python face of the hierarchy of vector-valued nodes.
#include "bindings/tensors.hpp"
#include "blocks/block_hierarchy.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>

namespace gabp {
namespace {

constexpr int largest_block = 64;  // unknowns of a node, and near-null vectors

std::unique_ptr<BlockHierarchy> construct(Offsets start, Nodes source, Vector<const double> weight,
                                          Vector<const double> diagonal, Columns<const std::int64_t> member,
                                          Offsets place, std::optional<Columns<const double>> vectors, int threads) {
    const auto n = static_cast<std::int64_t>(diagonal.shape(0));
    require(static_cast<std::int64_t>(start.shape(0)) == n + 1 && static_cast<std::int64_t>(place.shape(0)) == n,
            "start must have n + 1 entries and place n");
    require(weight.shape(0) == source.shape(0), "one weight for each edge");
    require(member.shape(1) >= 1 && member.shape(1) <= largest_block, "nodes have 1 to 64 unknowns");
    if (vectors)
        require(static_cast<std::int64_t>(vectors->shape(0)) == n && vectors->shape(1) >= 1 &&
                    vectors->shape(1) <= largest_block,
                "there are 1 to 64 near-null vectors of n entries");
    nb::gil_scoped_release release;
    Team team(threads);
    const ScalarEdges edges{n, start.data(), source.data(), weight.data(), diagonal.data()};
    const NodePartition partition{static_cast<std::int32_t>(member.shape(0)), static_cast<int>(member.shape(1)),
                                  member.data(), place.data()};
    return std::make_unique<BlockHierarchy>(edges, partition, vectors ? vectors->data() : nullptr,
                                            vectors ? static_cast<int>(vectors->shape(1)) : 0, team);
}

void apply_cycle(const BlockHierarchy &hierarchy, Columns<const double> b, Columns<double> out, int threads) {
    require(static_cast<std::int64_t>(b.shape(0)) == hierarchy.n() && out.shape(0) == b.shape(0) &&
                out.shape(1) == b.shape(1),
            "b and out must be (n, columns)");
    nb::gil_scoped_release release;
    Team team(threads);
    BlockCycle cycle(hierarchy, team);
    const auto columns = static_cast<std::int64_t>(b.shape(1));
    Array<float> in(hierarchy.padded()), result(hierarchy.padded());
    for (std::int64_t c = 0; c < columns; ++c) {
        std::fill(in.data(), in.data() + in.size(), 0.0f);
        for (std::int64_t u = 0; u < hierarchy.n(); ++u)
            in[hierarchy.place(u)] = static_cast<float>(hierarchy.scale(u) * b.data()[u * columns + c]);
        cycle.apply(in.data(), result.data());
        for (std::int64_t u = 0; u < hierarchy.n(); ++u)
            out.data()[u * columns + c] = hierarchy.scale(u) * static_cast<double>(result[hierarchy.place(u)]);
    }
}

}  // namespace

void bind_block_hierarchy(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<BlockHierarchy>(m, "BlockHierarchy")
        .def(nb::new_(&construct), "start"_a, "source"_a, "weight"_a, "diagonal"_a, "member"_a, "place"_a,
             "vectors"_a.none(), "threads"_a)
        .def("apply", &apply_cycle)
        .def_prop_ro("bytes", &BlockHierarchy::bytes)
        .def("levels", [](const BlockHierarchy &h) {
            nb::list all;
            for (const BlockLevel &level : h.levels())
                all.append(nb::make_tuple(level.matrix.rows, level.matrix.height, level.matrix.blocks(),
                                          level.stretches(), level.loaded, !level.exact.empty()));
            return all;
        });
}

}  // namespace gabp
