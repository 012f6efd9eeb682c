/* What this Arm processor has, as Linux or macOS says. */
#if defined(__APPLE__)
#include <sys/sysctl.h>

static int has_feature(const char *name) {
    int value = 0;
    __SIZE_TYPE__ size = sizeof value;
    return !sysctlbyname(name, &value, &size, 0, 0) && value;
}
static inline int has_dotprod(void) { return has_feature("hw.optional.arm.FEAT_DotProd"); }
static inline int has_bf16(void) { return has_feature("hw.optional.arm.FEAT_BF16"); }
#elif defined(__linux__)
#include <sys/auxv.h>

static inline int has_dotprod(void) { return getauxval(AT_HWCAP) >> 20 & 1; } /* HWCAP_ASIMDDP */
static inline int has_bf16(void) { return getauxval(AT_HWCAP2) >> 14 & 1; }   /* HWCAP2_BF16 */
#else
static inline int has_dotprod(void) { return 0; }
static inline int has_bf16(void) { return 0; }
#endif
