/* Operations that are the same for every instruction set, on top of one of the vector_*.h headers. */

/* Up to LANES of `n` numbers from index `at` on: float32 or bfloat16, as itemsize says. */
INLINE vfloat load_n(const void *from, long at, long itemsize, long n) {
    if (itemsize == 4) return vf_load_n((const float *)from + at, n);
    return vf_load_bf16_n((const uint16_t *)from + at, n);
}
INLINE vfloat round_to(long itemsize, vfloat x) { return itemsize == 4 ? x : vf_round_to_bf16(x); }
INLINE void store_n(void *to, long at, long itemsize, long n, vfloat x) {
    if (itemsize == 4) vf_store_n((float *)to + at, n, x);
    else vf_store_bf16_n((uint16_t *)to + at, n, vf_round_to_bf16(x));
}

/* e^x with a relative error of 2e-7: 2^n times a polynomial (coefficients of Cephes' expf). NaN stays NaN. */
INLINE vfloat vf_exp(vfloat x) {
    static const float coefficients[] = {
        1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f, 1, 1};
    x = vf_min(vf_set1(88), vf_max(vf_set1(-87), x));
    const vfloat n = vf_round(vf_mul(x, vf_set1(1.44269504f)));
    x = vf_fnma(n, vf_set1(0.693359375f), x); /* ln 2 in two parts */
    x = vf_fnma(n, vf_set1(-2.12194440e-4f), x);
    vfloat sum = vf_set1(1.9875691500e-4f);
    UNROLLED(i, 7) sum = vf_fma(sum, x, vf_set1(coefficients[i]));
    return vf_exp2_scale(sum, n);
}

/* Transposes LANES vectors, by zipping their lower and upper halves log2(LANES) times. */
INLINE void vi_transpose(vint rows[LANES]) {
    UNROLLED(round, LANES_LOG2) {
        vint zipped[LANES];
        UNROLLED(i, LANES / 2) {
            zipped[2 * i] = vi_zip_low(rows[i], rows[i + LANES / 2]);
            zipped[2 * i + 1] = vi_zip_high(rows[i], rows[i + LANES / 2]);
        }
        UNROLLED(i, LANES) rows[i] = zipped[i];
    }
}
