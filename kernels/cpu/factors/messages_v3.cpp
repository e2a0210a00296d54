// The same loops for x86-64 processors with AVX2 and FMA; CMakeLists.txt sets the flags.
#ifdef GABP_X86
#include "factors/messages.inc"

namespace gabp {

void outgoing_messages_v3(const GaussianFactors &factors, const FactorMessages<const double> &incoming,
                          const FactorMessages<double> &sent, bool *definite, double *joint, double *work);
void outgoing_messages_v3(const GaussianFactors &factors, const FactorMessages<const double> &incoming,
                          const FactorMessages<double> &sent, bool *definite, double *joint, double *work) {
    send_any(factors, incoming, sent, definite, joint, work);
}

void transport_messages_v3(const Transport &transport, double *precision, double *potential, double *work);
void transport_messages_v3(const Transport &transport, double *precision, double *potential, double *work) {
    transport_any(transport, precision, potential, work);
}

}  // namespace gabp
#endif
