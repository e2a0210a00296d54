// The loops for every processor, and the dispatch between instruction sets.
#include "common/cpu_dispatch.hpp"
#include "factors/messages.inc"

#include <vector>

namespace gabp {

#ifdef GABP_X86
// messages_v3.cpp
void outgoing_messages_v3(const GaussianFactors &factors, const FactorMessages<const double> &incoming,
                          const FactorMessages<double> &sent, bool *definite, double *joint, double *work);
void transport_messages_v3(const Transport &transport, double *precision, double *potential, double *work);
#endif

void outgoing_messages(const GaussianFactors &factors, const FactorMessages<const double> &incoming,
                       const FactorMessages<double> &sent, bool *definite) {
    const std::int64_t width = factors.width;
    std::vector<double> joint(width * width), work((width + 1) * (width + 1));
#ifdef GABP_X86
    static const bool newer = &instruction_set() != &isa_plain;
    if (newer) return outgoing_messages_v3(factors, incoming, sent, definite, joint.data(), work.data());
#endif
    send_any(factors, incoming, sent, definite, joint.data(), work.data());
}

void transport_messages(const Transport &transport, double *precision, double *potential) {
    std::vector<double> work(transport.dimension * (transport.dimension + 1));
#ifdef GABP_X86
    static const bool newer = &instruction_set() != &isa_plain;
    if (newer) return transport_messages_v3(transport, precision, potential, work.data());
#endif
    transport_any(transport, precision, potential, work.data());
}

}  // namespace gabp
