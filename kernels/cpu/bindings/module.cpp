#include <nanobind/nanobind.h>

namespace gabp {
void bind_bayes_tree(nanobind::module_ &);
void bind_block(nanobind::module_ &);
void bind_block_hierarchy(nanobind::module_ &);
void bind_bounds(nanobind::module_ &);
void bind_column_norms(nanobind::module_ &);
void bind_directed(nanobind::module_ &);
void bind_directed_edges(nanobind::module_ &);
void bind_distance_colouring(nanobind::module_ &);
void bind_factor(nanobind::module_ &);
void bind_factors(nanobind::module_ &);
void bind_flooding(nanobind::module_ &);
void bind_hierarchy(nanobind::module_ &);
void bind_layout(nanobind::module_ &);
void bind_markov_blankets(nanobind::module_ &);
void bind_row_checks(nanobind::module_ &);
void bind_rows_to_edges(nanobind::module_ &);
void bind_sequential(nanobind::module_ &);
void bind_tensors(nanobind::module_ &);
void bind_tree(nanobind::module_ &);
}  // namespace gabp

NB_MODULE(_cpu, m) {
    nanobind::set_leak_warnings(false);  // factors that live until the interpreter ends are no leaks
    m.doc() = "Compiled message-passing kernels; gabp/kernels/reference.py states what they compute.";
    gabp::bind_bayes_tree(m);
    gabp::bind_block(m);
    gabp::bind_block_hierarchy(m);
    gabp::bind_bounds(m);
    gabp::bind_column_norms(m);
    gabp::bind_directed(m);
    gabp::bind_directed_edges(m);
    gabp::bind_distance_colouring(m);
    gabp::bind_factor(m);
    gabp::bind_factors(m);
    gabp::bind_flooding(m);
    gabp::bind_hierarchy(m);
    gabp::bind_layout(m);
    gabp::bind_markov_blankets(m);
    gabp::bind_row_checks(m);
    gabp::bind_rows_to_edges(m);
    gabp::bind_sequential(m);
    gabp::bind_tensors(m);
    gabp::bind_tree(m);
}
