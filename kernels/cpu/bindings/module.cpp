#include <nanobind/nanobind.h>

namespace gabp {
void bind_block(nanobind::module_ &);
void bind_colouring(nanobind::module_ &);
void bind_bounds(nanobind::module_ &);
void bind_columns(nanobind::module_ &);
void bind_directed(nanobind::module_ &);
void bind_factor(nanobind::module_ &);
void bind_hierarchy(nanobind::module_ &);
void bind_layout(nanobind::module_ &);
void bind_patches(nanobind::module_ &);
void bind_rows(nanobind::module_ &);
void bind_sequential(nanobind::module_ &);
void bind_slots(nanobind::module_ &);
void bind_sweeps(nanobind::module_ &);
void bind_tree(nanobind::module_ &);
}  // namespace gabp

NB_MODULE(_cpu, m) {
    nanobind::set_leak_warnings(false);  // factors that live until the interpreter ends are no leaks
    m.doc() = "Compiled message-passing kernels; gabp/kernels/reference.py states what they compute.";
    gabp::bind_block(m);
    gabp::bind_colouring(m);
    gabp::bind_bounds(m);
    gabp::bind_columns(m);
    gabp::bind_directed(m);
    gabp::bind_factor(m);
    gabp::bind_hierarchy(m);
    gabp::bind_layout(m);
    gabp::bind_patches(m);
    gabp::bind_rows(m);
    gabp::bind_sequential(m);
    gabp::bind_slots(m);
    gabp::bind_sweeps(m);
    gabp::bind_tree(m);
}
