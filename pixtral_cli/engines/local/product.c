/* What decoding on a CPU waits for, at the speed of memory: products of a few vectors with a matrix, and with those and
 * attention a whole step of the decoder. Called through ctypes.
 *
 * y[n][o] = sum over i of x[n][i] w[o][i], summed in float32. Each sum is taken in the same order however many vectors
 * there are, so that a sequence's logits do not depend on which others share its step.
 *
 * The matrix holds bfloat16, float32, or packed whole numbers of 8 or 4 bits with their scales.
 */
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A team of threads, made when first needed, for whoever calls. Each works through a stretch of its own, for memory is
 * read fastest in order, then helps with the others': a thread that the system keeps waiting keeps nobody else waiting.
 */
#define CREW 256
#define OPEN (1 << 20)
#define PATIENCE 4000 /* looks out for work, some 100 microseconds, before a thread sleeps */

typedef void (*Work)(const void *job, long start, long stop);
static struct {
    pthread_mutex_t busy, bed;
    pthread_cond_t wake;
    atomic_long turn;
    atomic_int inside, sleeping; /* `inside` counts from -OPEN while there is nothing to do */
    int helpers, crew;
    long step;
    Work work;
    const void *job;
    struct { atomic_long next; long stop; char apart[48]; } stretches[CREW];
} team;

static void reset(void) { /* also in a forked process, which has none of these threads */
    pthread_mutex_init(&team.busy, 0), pthread_mutex_init(&team.bed, 0), pthread_cond_init(&team.wake, 0);
    team.inside = -OPEN;
    team.sleeping = team.helpers = 0;
}

__attribute__((constructor)) static void begin(void) {
    reset();
    pthread_atfork(0, 0, reset);
}

static void take(long number) {
    for (int i = 0; i < team.crew; i++) {
        const long at = (number + i) % team.crew, stop = team.stretches[at].stop;
        for (long start; (start = atomic_fetch_add(&team.stretches[at].next, team.step)) < stop;)
            team.work(team.job, start, start + team.step < stop ? start + team.step : stop);
    }
}

static void *help(void *number) {
    for (long seen = 0;;) {
        for (int i = 0; i < PATIENCE && team.turn == seen; i++) _mm_pause();
        if (team.turn == seen) {
            pthread_mutex_lock(&team.bed);
            for (team.sleeping++; team.turn == seen;) pthread_cond_wait(&team.wake, &team.bed);
            pthread_mutex_unlock(&team.bed), team.sleeping--;
        }
        seen = team.turn;
        if (atomic_fetch_add(&team.inside, 1) >= 0 && (long)number < team.crew) take((long)number);
        team.inside--;
    }
    return 0;
}

/* One more thread, which leaves all signals to others. */
static int hire(void) {
    pthread_t thread;
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    const int hired = !pthread_create(&thread, 0, help, (void *)(long)(team.helpers + 1));
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return hired && (team.helpers++, !pthread_detach(thread));
}

/* Do `work` on 0 to `count`, `step` at a time; alone where another caller has the team. */
static void share(Work work, const void *job, long count, long step, int threads) {
    if (threads < 2 || count <= step || pthread_mutex_trylock(&team.busy)) return work(job, 0, count);
    team.work = work, team.job = job, team.step = step, team.crew = threads < CREW ? threads : CREW;
    while (team.helpers < team.crew - 1 && hire()) {}
    for (long i = 0, steps = (count + step - 1) / step; i < team.crew; i++) {
        team.stretches[i].next = steps * i / team.crew * step;
        team.stretches[i].stop = i < team.crew - 1 ? steps * (i + 1) / team.crew * step : count;
    }
    team.inside += OPEN;
    team.turn++;
    if (team.sleeping)
        pthread_mutex_lock(&team.bed), pthread_cond_broadcast(&team.wake), pthread_mutex_unlock(&team.bed);
    take(0);
    team.inside -= OPEN;
    for (long i = 0; team.inside != -OPEN; i++) i < 1000 ? _mm_pause() : (void)sched_yield();
    pthread_mutex_unlock(&team.busy);
}

#define TILE 8            /* vectors that share one pass over the weights in registers */
#define SHARE 24          /* rows whose weights stay near between two passes */
#define PORTION (1 << 17) /* bytes of weights that a thread takes at a time */
#define WIDE __attribute__((target("avx512f,avx512bw,avx512vl")))
#define WIDE_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define PACKED __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define EACH(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)
#define ALL 0xffffffff
#define INLINE static inline __attribute__((always_inline))
#define LEFT(at, end) ((end) - (at) >= 16 ? 0xffff : (end) > (at) ? (__mmask16)((1u << ((end) - (at))) - 1) : 0)

typedef struct { const void *w, *scales; long width, out, bits; } Matrix; /* 0 bits: numbers as the vectors have them */

typedef struct Job {
    void (*part)(const struct Job *job, long start, long stop, long first, int count);
    const void *w, *scales, *x;
    const float *x_scales;
    void *y;
    long in, groups, out, count, size;
} Job;

INLINE float widened(uint16_t number) {
    return (union { uint32_t bits; float value; }){(uint32_t)number << 16}.value;
}

INLINE WIDE __m512i load(const void *from, int size, __mmask32 mask) {
    if (mask == ALL) return _mm512_loadu_si512(from);
    return size == 2 ? _mm512_maskz_loadu_epi16(mask, from) : _mm512_maskz_loadu_epi32((__mmask16)mask, from);
}

INLINE WIDE __m512 get(const void *from, long at, long size, __mmask16 mask) {
    if (size == 4) return _mm512_maskz_loadu_ps(mask, (const float *)from + at);
    const void *place = (const uint16_t *)from + at;
    const __m256i half = mask == 0xffff ? _mm256_loadu_si256(place) : _mm256_maskz_loadu_epi16(mask, place);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* As numbers of `size` bytes hold them. */
INLINE WIDE __m512 rounded(long size, __m512 x) {
    const __m512i raw = _mm512_castps_si512(x), half = _mm512_set1_epi32(0x7fff), all = _mm512_set1_epi32(-65536);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(raw, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(raw, half), odd);
    return size == 4 ? x : _mm512_castsi512_ps(_mm512_and_si512(up, all));
}

INLINE WIDE void put(void *to, long at, long size, __mmask16 mask, __m512 x) {
    const __m512i high = _mm512_srli_epi32(_mm512_castps_si512(rounded(size, x)), 16);
    if (size == 4) _mm512_mask_storeu_ps((float *)to + at, mask, x);
    else _mm256_mask_storeu_epi16((uint16_t *)to + at, mask, _mm512_cvtepi32_epi16(high));
}

static void product_rows(const void *all, long start, long stop) {
    const Job *job = all;
    for (long row = start; row < stop; row += SHARE)
        for (long first = 0; first < job->count; first += TILE)
            job->part(job, row, row + SHARE < stop ? row + SHARE : stop, first,
                      job->count - first < TILE ? (int)(job->count - first) : TILE);
}

/* The compiler makes a loop without branches of every number of vectors. */
#define ROWS(tile, of, rows, count) \
    for (; row + rows <= stop; row += rows) tile(job, of, row, rows, first, count);
#define CASE(tile, of, rows, count) \
    case count: ROWS(tile, of, rows, count) ROWS(tile, of, 1, count) break;
#define PART_OF(name, target, tile, of, some, many)                                                         \
    static target void name(const Job *job, long start, long stop, long first, int count) {                 \
        long row = start;                                                                                   \
        switch (count) {                                                                                    \
            CASE(tile, of, 4, 1) CASE(tile, of, 4, 2) CASE(tile, of, 4, 3) CASE(tile, of, 4, 4)             \
            CASE(tile, of, some, 5) CASE(tile, of, some, 6) CASE(tile, of, many, 7) CASE(tile, of, many, 8) \
        }                                                                                                   \
    }

INLINE WIDE_BF16 void step_plain(const char *w, const char *x, long in, int size, int rows, int count, __mmask32 mask,
                                 __m512 sums[4][TILE]) {
    __m512i weights[4];
    EACH(r, rows) weights[r] = load(w + r * in * size, size, mask);
    EACH(n, count) {
        const __m512i vector = load(x + n * in * size, size, mask);
        EACH(r, rows) sums[r][n] = size == 2 ? _mm512_dpbf16_ps(sums[r][n], (__m512bh)weights[r], (__m512bh)vector)
            : _mm512_fmadd_ps(_mm512_castsi512_ps(weights[r]), _mm512_castsi512_ps(vector), sums[r][n]);
    }
}

/* `rows` rows from `row` on, by `count` vectors from `first` on. */
INLINE WIDE_BF16 void tile_plain(const Job *job, int size, long row, int rows, long first, int count) {
    const long in = job->in, lanes = 64 / size;
    const char *w = (const char *)job->w + row * in * size, *x = (const char *)job->x + first * in * size;
    __m512 sums[4][TILE];
    EACH(r, rows) EACH(n, count) sums[r][n] = _mm512_setzero_ps();
    long i = 0;
    for (; i + lanes <= in; i += lanes, w += 64, x += 64) step_plain(w, x, in, size, rows, count, ALL, sums);
    if (i < in) step_plain(w, x, in, size, rows, count, (1u << (in - i)) - 1, sums);
    EACH(r, rows) EACH(n, count)
        put(job->y, (first + n) * job->out + row + r, size, 1, _mm512_set1_ps(_mm512_reduce_add_ps(sums[r][n])));
}

PART_OF(part_bf16, WIDE_BF16, tile_plain, 2, 4, 3)
PART_OF(part_f32, WIDE_BF16, tile_plain, 4, 4, 3)

/* Packed weights: whole numbers of 8 bits with a float32 scale a row, or of 4 with a bfloat16 scale a group. A row is
 * padded with zeros to whole groups of 64; of the 4 bits, byte i of a group's 32 holds number i and, above it, i + 32.
 * Vectors become whole numbers of 16 bits with a scale a group, so that a group's sum is exact.
 */
#define GROUP 64
typedef struct { __m512i low, high; } Group; /* 64 numbers of 16 bits */

INLINE PACKED Group group_of(const uint8_t *from, int bits) {
    static const int16_t numbers[32] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7,
                                        -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const __m256i first = _mm256_loadu_si256((const __m256i *)from);
    const __m512i pairs = _mm512_cvtepu8_epi16(first), table = _mm512_loadu_si512(numbers);
    if (bits == 8)
        return (Group){_mm512_cvtepi8_epi16(first),
                       _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(from + GROUP / 2)))};
    return (Group){_mm512_permutexvar_epi16(pairs, table),  /* looks at the last five bits: the table stands twice */
                   _mm512_permutexvar_epi16(_mm512_srli_epi16(pairs, 4), table)};
}

INLINE PACKED float scale_of(const void *scales, int bits, long row, long groups, long group) {
    return bits == 8 ? ((const float *)scales)[row] : widened(((const uint16_t *)scales)[row * groups + group]);
}

INLINE PACKED void tile_packed(const Job *job, int bits, long row, int rows, long first, int count) {
    const long stride = job->groups * GROUP * bits / 8;
    const uint8_t *w = (const uint8_t *)job->w + row * stride;
    const int16_t *x = (const int16_t *)job->x + first * job->groups * GROUP;
    const float *x_scales = job->x_scales + first * job->groups;
    __m512 sums[4][TILE];
    EACH(r, rows) EACH(n, count) sums[r][n] = _mm512_setzero_ps();
    for (long g = 0; g < job->groups; g++) {
        Group weights[4];
        __m512 scales[4];
        EACH(r, rows) {
            const uint8_t *from = w + r * stride + g * GROUP * bits / 8;
            weights[r] = group_of(from, bits);
            if (bits == 4) scales[r] = _mm512_set1_ps(scale_of(job->scales, bits, row + r, job->groups, g));
            _mm_prefetch((const char *)from + rows * stride, _MM_HINT_T0); /* the next tile: rows are short */
        }
        EACH(n, count) {
            const int16_t *vector = x + (n * job->groups + g) * GROUP;
            const __m512i low = _mm512_loadu_si512(vector), high = _mm512_loadu_si512(vector + GROUP / 2);
            const __m512 scale = _mm512_set1_ps(x_scales[n * job->groups + g]);
            EACH(r, rows) {
                __m512i sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), weights[r].low, low);
                sum = _mm512_dpwssd_epi32(sum, weights[r].high, high);
                const __m512 both = bits == 4 ? _mm512_mul_ps(scales[r], scale) : scale;
                sums[r][n] = _mm512_fmadd_ps(both, _mm512_cvtepi32_ps(sum), sums[r][n]);
            }
        }
    }
    EACH(r, rows) EACH(n, count) {
        const float scale = bits == 8 ? scale_of(job->scales, bits, row + r, job->groups, 0) : 1;
        put(job->y, (first + n) * job->out + row + r, job->size, 1,
            _mm512_set1_ps(_mm512_reduce_add_ps(sums[r][n]) * scale));
    }
}

PART_OF(part_8, PACKED, tile_packed, 8, 2, 2)
PART_OF(part_4, PACKED, tile_packed, 4, 2, 2)

/* One vector as whole numbers. What is no number makes its group's scale, and so every sum, none. */
static PACKED void whole_numbers(const void *x, long width, long size, int16_t *to, float *scales) {
    for (long start = 0; start < width; start += GROUP, to += GROUP, scales++) {
        __m512 numbers[4];
        __m512i most = _mm512_setzero_si512();
        EACH(k, 4) {
            numbers[k] = get(x, start + 16 * k, size, LEFT(start + 16 * k, width));
            most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(numbers[k])));
        }
        union { int32_t bits; float value; } largest = {_mm512_reduce_max_epi32(most)};
        const __m512 over = _mm512_set1_ps(largest.value > 1e-30f ? 32767 / largest.value : 0);
        EACH(k, 4) {
            const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(numbers[k], over));
            _mm256_storeu_si256((__m256i *)(to + 16 * k), _mm512_cvtsepi32_epi16(whole));
        }
        *scales = largest.value / 32767;
    }
}

static PACKED void unpack_rows(const void *all, long start, long stop) {
    const Job *job = all;
    const int bits = (int)job->count;
    for (long row = start; row < stop; row++)
        for (long g = 0; g < job->groups; g++) {
            const __m512 scale = _mm512_set1_ps(scale_of(job->scales, bits, row, job->groups, g));
            const Group group = group_of((const uint8_t *)job->w + (row * job->groups + g) * GROUP * bits / 8, bits);
            EACH(k, 4) {
                const __m512i half = k < 2 ? group.low : group.high;
                const __m256i part = k % 2 ? _mm512_extracti64x4_epi64(half, 1) : _mm512_castsi512_si256(half);
                const __m512 numbers = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(part)));
                const long at = g * GROUP + 16 * k;
                put((char *)job->y + row * job->in * job->size, at, job->size, LEFT(at, job->in), numbers);
            }
        }
}

#define HAS(it) (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports(it))
int pixtral_has_product(void) { return HAS("avx512bf16"); }
int pixtral_has_packed(void) { return HAS("avx512vnni"); }

/* A packed matrix as numbers of `size` bytes. */
void pixtral_unpack(const Matrix *m, void *y, int size, int threads) {
    const long groups = (m->width + GROUP - 1) / GROUP;
    const Job job = {0, m->w, m->scales, 0, 0, y, m->width, groups, m->out, m->bits, size};
    share(unpack_rows, &job, m->out, SHARE, threads);
}

/* y = x times the matrix, for `count` vectors of numbers of `size` bytes: 2 for bfloat16, 4 float32. 1: no memory. */
int pixtral_product(const Matrix *m, const void *x, void *y, long count, int size, int threads) {
    const long groups = (m->width + GROUP - 1) / GROUP, row = m->bits ? groups * GROUP * m->bits / 8 : m->width * size;
    Job job = {size == 2 ? part_bf16 : part_f32, m->w, m->scales, x, 0, y, m->width, groups, m->out, count, size};
    float *scales = m->bits ? malloc((size_t)(count * groups) * (sizeof(float) + GROUP * sizeof(int16_t))) : 0;
    if (m->bits) {
        if (!scales) return 1;
        int16_t *numbers = (int16_t *)(scales + count * groups);
        job.part = m->bits == 8 ? part_8 : part_4, job.x = numbers, job.x_scales = scales;
        for (long n = 0; n < count; n++, x = (const char *)x + m->width * size)
            whole_numbers(x, m->width, size, numbers + n * groups * GROUP, scales + n * groups);
    }
    share(product_rows, &job, m->out, PORTION / row > SHARE ? PORTION / row / SHARE * SHARE : SHARE, threads);
    free(scales);
    return 0;
}

/* A step of the decoder: every layer for a few positions, of one sequence or several, rounded as torch's are. */
typedef struct {
    const void *attention_norm, *feed_norm;
    Matrix query, key, value, out, gate, up, down;
} Layer;

typedef struct {
    const Layer *layers;
    long count, dim, hidden, heads, groups, head, size;
    float epsilon;
} Model;

typedef struct { char *store; long capacity; } Kept; /* keys, then values: groups by capacity by head */
typedef struct { const Kept *layers; long length; } Position; /* `length` are attended to, its own the last */
typedef struct { const Model *model; const Position *positions; const char *query; char *out; long layer; } Attention;

#define GET(from, at, end) get(from, at, size, LEFT(at, end))
#define PUT(to, at, end, x) put(to, at, size, LEFT(at, end), x)
#define ALONG(i, end) for (long i = 0; i < (end); i += 16)
/* e to the x, to 2e-7 of it: 2 to a whole number times a polynomial's part of one (Cephes' coefficients). */
INLINE WIDE __m512 exponential(__m512 x) {
    static const float parts[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f, 1, 1};
    x = _mm512_min_ps(_mm512_set1_ps(88), _mm512_max_ps(_mm512_set1_ps(-87), x)); /* NaN stays */
    const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    x = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    x = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), x);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    EACH(i, 7) sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(parts[i]));
    return _mm512_scalef_ps(sum, whole);
}

static WIDE void norm(const void *x, const void *weight, void *y, long dim, long size, float epsilon) {
    __m512 sum = _mm512_setzero_ps();
    ALONG(i, dim) sum = _mm512_fmadd_ps(GET(x, i, dim), GET(x, i, dim), sum);
    const __m512 scale = _mm512_set1_ps(1 / sqrtf(_mm512_reduce_add_ps(sum) / (float)dim + epsilon));
    ALONG(i, dim) PUT(y, i, dim, _mm512_mul_ps(_mm512_mul_ps(GET(x, i, dim), scale), GET(weight, i, dim)));
}

static WIDE void add(void *x, const void *y, long count, long size) {
    ALONG(i, count) PUT(x, i, count, _mm512_add_ps(GET(x, i, count), GET(y, i, count)));
}

static WIDE void gated(void *gate, const void *up, long count, long size) {
    ALONG(i, count) {
        const __m512 x = GET(gate, i, count), below = exponential(_mm512_sub_ps(_mm512_setzero_ps(), x));
        const __m512 silu = _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), below));
        PUT(gate, i, count, _mm512_mul_ps(rounded(size, silu), GET(up, i, count)));
    }
}

/* Neighbouring pairs turned, `turns` being cosine and sine of each. */
static WIDE void rotated(const void *x, const float *turns, void *y, long count, long size) {
    ALONG(i, count) {
        const __m512 pairs = GET(x, i, count), turn = get(turns, i, 4, LEFT(i, count));
        const __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(pairs, 0xb1), _mm512_movehdup_ps(turn));
        PUT(y, i, count, _mm512_fmaddsub_ps(pairs, _mm512_moveldup_ps(turn), crossed));
    }
}

/* `rows` heads that share keys and values, one block of keys after the other: the sums of what has been seen are scaled
 * down when a greater score comes (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax").
 */
#define BLOCK 128
#define WIDEST 256 /* numbers of a head */
INLINE WIDE void attend(const Model *m, int even, const char *query, const char *keys, long length, int rows, char *out,
                        const char *values) {
    const long head = m->head, size = m->size, row = head * size;
    const __m512 scale = _mm512_set1_ps(1 / sqrtf((float)head));
    __m512 asked[4][WIDEST / 16], sums[4][WIDEST / 16];
    float scores[4][BLOCK], most[4], total[4];
    EACH(r, rows) most[r] = -INFINITY, total[r] = 0;
    EACH(r, rows) ALONG(d, head) {
        asked[r][d / 16] = _mm512_mul_ps(GET(query + r * row, d, head), scale), sums[r][d / 16] = _mm512_setzero_ps();
    }
    for (long start = 0; start < length; start += BLOCK, keys += BLOCK * row, values += BLOCK * row) {
        const long count = length - start < BLOCK ? length - start : BLOCK;
        for (long s = 0; s < count; s++) {
            __m512 dot[4];
            EACH(r, rows) dot[r] = _mm512_setzero_ps();
            ALONG(d, head) {
                const __m512 key = get(keys + s * row, d, size, even ? 0xffff : LEFT(d, head));
                EACH(r, rows) dot[r] = _mm512_fmadd_ps(key, asked[r][d / 16], dot[r]);
            }
            EACH(r, rows) scores[r][s] = _mm512_reduce_add_ps(dot[r]);
        }
        EACH(r, rows) {
            const float before = most[r];
            for (long s = 0; s < count; s++) most[r] = scores[r][s] > most[r] ? scores[r][s] : most[r];
            const float less = expf(before - most[r]);
            __m512 sum = _mm512_setzero_ps();
            ALONG(s, count) {
                const __m512 below = _mm512_sub_ps(get(scores[r], s, 4, LEFT(s, count)), _mm512_set1_ps(most[r]));
                put(scores[r], s, 4, 0xffff, _mm512_maskz_mov_ps(LEFT(s, count), exponential(below)));
                sum = _mm512_add_ps(sum, get(scores[r], s, 4, 0xffff));
            }
            total[r] = total[r] * less + _mm512_reduce_add_ps(sum);
            ALONG(d, head) sums[r][d / 16] = _mm512_mul_ps(sums[r][d / 16], _mm512_set1_ps(less));
        }
        ALONG(d, head) {
            __m512 mixed[4];
            EACH(r, rows) mixed[r] = sums[r][d / 16];
            for (long s = 0; s < count; s++) {
                const __m512 value = get(values + s * row, d, size, even ? 0xffff : LEFT(d, head));
                EACH(r, rows) mixed[r] = _mm512_fmadd_ps(value, _mm512_set1_ps(scores[r][s]), mixed[r]);
            }
            EACH(r, rows) sums[r][d / 16] = mixed[r];
        }
    }
    EACH(r, rows) ALONG(d, head)
        PUT(out + r * row, d, head, _mm512_div_ps(sums[r][d / 16], _mm512_set1_ps(total[r])));
}

static WIDE void attend_parts(const void *all, long start, long stop) {
    const Attention *job = all;
    const Model *m = job->model;
    const long shared = m->heads / m->groups, row = m->head * m->size;
    for (long part = start; part < stop; part++) {
        const Position *position = job->positions + part / m->groups;
        const Kept kept = position->layers[job->layer];
        const char *keys = kept.store + part % m->groups * kept.capacity * row;
        const char *values = keys + m->groups * kept.capacity * row, *query = job->query + part * shared * row;
        char *out = job->out + part * shared * row, *end = out + shared * row;
        for (; m->head % 16 == 0 && out + 4 * row <= end; query += 4 * row, out += 4 * row)
            attend(m, 1, query, keys, position->length, 4, out, values);
        for (; out < end; query += row, out += row) attend(m, 0, query, keys, position->length, 1, out, values);
    }
}

/* `states` (count by dim) become what the layers make of them, and the positions' keys and values are kept. `turns` are
 * cosines and sines, count by head / 2. 1: no memory.
 */
int pixtral_step(const Model *m, const Position *positions, char *states, const float *turns, long count, int threads) {
    const long size = m->size, wide = m->heads * m->head, narrow = m->groups * m->head, row = m->head * size;
    char *normed = malloc((size_t)(count * (m->dim + 2 * wide + 2 * narrow + 2 * m->hidden) * size));
    char *query = normed + count * m->dim * size, *mixed = query + count * wide * size;
    char *key = mixed + count * wide * size, *value = key + count * narrow * size;
    char *gate = value + count * narrow * size, *up = gate + count * m->hidden * size;
    int failed = !normed;
#define TIMES(matrix, x, y) failed |= pixtral_product(&layer->matrix, x, y, count, (int)size, threads)
#define NORM(weight)                                                                 \
    for (long n = 0, at = 0; n < count; n++, at += m->dim * size)                    \
        norm(states + at, layer->weight, normed + at, m->dim, size, m->epsilon)
    for (long number = 0; number < m->count && !failed; number++) {
        const Layer *layer = m->layers + number;
        NORM(attention_norm);
        TIMES(query, normed, query), TIMES(key, normed, key), TIMES(value, normed, value);
        for (long n = 0; n < count; n++) {
            const Kept kept = positions[n].layers[number];
            for (char *at = query + n * wide * size; at < query + (n + 1) * wide * size; at += row)
                rotated(at, turns + n * m->head, at, m->head, size);
            for (long group = 0; group < m->groups; group++) {
                char *to = kept.store + (group * kept.capacity + positions[n].length - 1) * row;
                rotated(key + (n * m->groups + group) * row, turns + n * m->head, to, m->head, size);
                memcpy(to + m->groups * kept.capacity * row, value + (n * m->groups + group) * row, (size_t)row);
            }
        }
        share(attend_parts, &(Attention){m, positions, query, mixed, number}, count * m->groups, 1, threads);
        TIMES(out, mixed, normed);
        add(states, normed, count * m->dim, size);
        NORM(feed_norm);
        TIMES(gate, normed, gate), TIMES(up, normed, up);
        gated(gate, up, count * m->hidden, size);
        TIMES(down, gate, normed);
        add(states, normed, count * m->dim, size);
    }
    free(normed);
    return failed;
}

#endif
