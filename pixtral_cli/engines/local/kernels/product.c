/* What a CPU waits for: products of a few vectors with a matrix, at the speed of memory; attention of few positions or
 * many; and of both, a whole step of the decoder. Called through ctypes. All is summed up in float32, in the same order
 * however many vectors there are, so that a sequence's logits do not depend on which others share its step. */
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

/* A team of threads, made when first needed, for whoever calls. Each works through a stretch of its own, as memory is
 * read fastest in order, then helps with others': a thread that the system keeps waiting keeps nobody else waiting. */
#define CREW 256
#define OPEN (1 << 20)
#define PATIENCE 4000 /* looks out for work, some 100 microseconds, before a thread sleeps */

typedef void (*Work)(const void *job, long start, long stop);
static struct {
    pthread_mutex_t busy, bed; pthread_cond_t wake;
    atomic_long turn;
    atomic_int inside, sleeping; /* `inside` counts from -OPEN while there is nothing to do */
    int helpers, crew;
    Work work; const void *job; long step;
    struct { atomic_long next; long stop; char apart[48]; } stretches[CREW];
} team;

__attribute__((constructor)) static void reset(void) { /* at first, and in a fork, which has none of these threads */
    static int known;
    pthread_mutex_init(&team.busy, 0), pthread_mutex_init(&team.bed, 0), pthread_cond_init(&team.wake, 0);
    team.inside = -OPEN;
    team.sleeping = team.helpers = 0;
    if (!known++) pthread_atfork(0, 0, reset);
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
#define EACH(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#define INLINE static inline __attribute__((always_inline))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define LEFT(at, end) ((end) - (at) >= 16 ? 0xffff : (end) > (at) ? (__mmask16)((1u << ((end) - (at))) - 1) : 0)

typedef struct { const void *w, *scales; long width, out, bits; } Matrix; /* 0 bits: numbers as the vectors have them */
typedef struct Job {
    void (*part)(const struct Job *job, long start, long stop, long first, int count);
    const void *w, *scales, *x; const float *x_scales; void *y;
    long in, groups, out, count, size;
} Job;

INLINE WIDE __m512 get(const void *from, long at, long size, __mmask16 mask) {
    if (size == 4) return _mm512_maskz_loadu_ps(mask, (const float *)from + at);
    const void *place = (const uint16_t *)from + at; /* a masked load waits for what has just been stored */
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
            job->part(job, row, LEAST(row + SHARE, stop), first, (int)LEAST(job->count - first, TILE));
}

/* The compiler makes a loop without branches of every number of vectors. */
#define CASE(tile, of, rows, some)                                                               \
    for (; count == some && row + rows <= stop; row += rows) tile(job, of, row, rows, first, some); \
    for (; count == some && row < stop; row++) tile(job, of, row, 1, first, some);
#define PART_OF(name, target, tile, of, some, many)                                                     \
    static target void name(const Job *job, long start, long stop, long first, int count) {             \
        long row = start;                                                                               \
        CASE(tile, of, 4, 1) CASE(tile, of, 4, 2) CASE(tile, of, 4, 3) CASE(tile, of, 4, 4)             \
        CASE(tile, of, some, 5) CASE(tile, of, some, 6) CASE(tile, of, many, 7) CASE(tile, of, many, 8) \
    }

/* Of 32 bits each: a float32, or two bfloat16 whose products are summed up. */
INLINE WIDE_BF16 __m512 plus(__m512 sum, __m512i x, __m512i y, int size) {
    return size == 2 ? _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y)
        : _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), sum);
}

/* `rows` rows from `row` on, by `count` vectors from `first` on. */
INLINE WIDE_BF16 void tile_plain(const Job *job, int size, long row, int rows, long first, int count) {
    const long bytes = job->in * size;
    const char *w = (const char *)job->w + row * bytes, *x = (const char *)job->x + first * bytes;
    __m512 sums[4][TILE];
    EACH(r, rows) EACH(n, count) sums[r][n] = _mm512_setzero_ps();
    long at = 0;
    EACH(rest, 2) for (; rest /* of less than 64 bytes */ ? at < bytes : at + 64 <= bytes; at += 64) {
#define UNITS(from) rest ? _mm512_maskz_loadu_epi16((1u << (bytes - at) / 2) - 1, from) : _mm512_loadu_si512(from)
        __m512i weights[4];
        EACH(r, rows) weights[r] = UNITS(w + r * bytes + at);
        EACH(r, rows) if (count > 1) _mm_prefetch(w + (rows + r) * bytes + at, _MM_HINT_T0); /* the next tile */
        EACH(n, count) {
            const __m512i vector = UNITS(x + n * bytes + at);
            EACH(r, rows) sums[r][n] = plus(sums[r][n], weights[r], vector, size);
        }
    }
    EACH(r, rows) EACH(n, count)
        put(job->y, (first + n) * job->out + row + r, size, 1, _mm512_set1_ps(_mm512_reduce_add_ps(sums[r][n])));
}

PART_OF(part_bf16, WIDE_BF16, tile_plain, 2, 4, 3)
PART_OF(part_f32, WIDE_BF16, tile_plain, 4, 4, 3)

/* Packed weights: whole numbers of 8 bits with a float32 scale a row, or of 4 with a bfloat16 scale a group, of whose
 * 32 bytes byte i holds number i and, above it, i + 32. A row is padded with zeros to whole groups. Vectors become
 * whole numbers of 16 bits with a scale a group, so that a group's sum is exact. */
#define GROUP 64
typedef struct { __m512i low, high; } Group; /* 64 numbers of 16 bits */

INLINE PACKED Group group_of(const uint8_t *from, int bits) {
    static const int16_t numbers[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const __m256i *const halves = (const void *)from, first = _mm256_loadu_si256(halves);
    if (bits == 8) return (Group){_mm512_cvtepi8_epi16(first), _mm512_cvtepi8_epi16(_mm256_loadu_si256(halves + 1))};
    const __m512i table = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)numbers)); /* five bits look it up */
    const __m512i pairs = _mm512_cvtepu8_epi16(first), above = _mm512_srli_epi16(pairs, 4);
    return (Group){_mm512_permutexvar_epi16(pairs, table), _mm512_permutexvar_epi16(above, table)};
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
            const uint16_t *scale = (const uint16_t *)job->scales + (row + r) * job->groups + g;
            if (bits == 4) scales[r] = _mm512_castsi512_ps(_mm512_set1_epi32(*scale << 16));
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
        const float sum = _mm512_reduce_add_ps(sums[r][n]) * (bits == 8 ? ((const float *)job->scales)[row + r] : 1);
        put(job->y, (first + n) * job->out + row + r, job->size, 1, _mm512_set1_ps(sum));
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
        EACH(k, 4) numbers[k] = _mm512_mul_ps(numbers[k], over);
        EACH(k, 4) _mm512_mask_cvtsepi32_storeu_epi16(to + 16 * k, 0xffff, _mm512_cvtps_epi32(numbers[k]));
        *scales = largest.value / 32767;
    }
}

#define HAS(it) (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports(it))
int pixtral_version(void) { return 2; } /* of the functions and what they are handed, as `product.py` knows them */
int pixtral_has_product(void) { return HAS("avx512bf16"); }
int pixtral_has_packed(void) { return HAS("avx512vnni"); }

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
typedef struct { const Kept *layers; long past, count; } Span; /* positions that follow on others of one sequence */

#define GET(from, at, end) get(from, at, size, LEFT(at, end))
#define PUT(to, at, end, x) put(to, at, size, LEFT(at, end), x)
#define ALONG(i, end) for (long i = 0; i < (end); i += 16)
#define WHOLE(head) (((head) + 63) / 64 * 64)
#define ROW(place) ((((place) / shared * m->heads + group * shared + (place) % shared) * head) * size)
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

/* Each of `count` vectors x becomes x + y, and y the norm of that. */
static WIDE void norm(const Model *m, const void *weight, char *x, char *y, long count) {
    const long dim = m->dim, size = m->size;
    for (; count--; x += dim * size, y += dim * size) {
        __m512 sum = _mm512_setzero_ps();
        ALONG(i, dim) {
            const __m512 both = rounded(size, _mm512_add_ps(GET(x, i, dim), GET(y, i, dim)));
            PUT(x, i, dim, both);
            sum = _mm512_fmadd_ps(both, both, sum);
        }
        const __m512 scale = _mm512_set1_ps(1 / sqrtf(_mm512_reduce_add_ps(sum) / (float)dim + m->epsilon));
        ALONG(i, dim) PUT(y, i, dim, _mm512_mul_ps(_mm512_mul_ps(GET(x, i, dim), scale), GET(weight, i, dim)));
    }
}

static WIDE void gated(void *gate, const void *up, long count, long size) {
    ALONG(i, count) {
        const __m512 x = GET(gate, i, count), below = exponential(_mm512_sub_ps(_mm512_setzero_ps(), x));
        const __m512 silu = _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), below));
        PUT(gate, i, count, _mm512_mul_ps(rounded(size, silu), GET(up, i, count)));
    }
}

/* `count` heads with their neighbouring pairs turned, `turns` being cosine and sine of each, to where y is `apart`. */
static WIDE void rotate(const Model *m, const float *turns, const char *x, char *y, long count, long apart) {
    const long head = m->head, size = m->size;
    for (; count--; x += head * size, y += apart) ALONG(i, head) {
        const __m512 pairs = GET(x, i, head), turn = get(turns, i, 4, LEFT(i, head));
        const __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(pairs, 0xb1), _mm512_movehdup_ps(turn));
        PUT(y, i, head, _mm512_fmaddsub_ps(pairs, _mm512_moveldup_ps(turn), crossed));
    }
}

/* Attention to a block of keys at a time, what has been summed up being scaled down when a greater score comes (Milakov
 * and Gimelshein 2018, "Online normalizer calculation for softmax"). A row is a head at a position. Both products are
 * of units of 32 bits, a float32 or two bfloat16, for which a block is laid out anew, once for a stretch of rows. */
#define KEYS 64
#define STRETCH 128
#define WIDEST 256 /* numbers of a head, as in `product.py` */
typedef struct { /* position n of `count` sees keys 0 to past + n, of `length` */
    const char *query, *keys, *values;
    char *out;
    long count, past, length, group, step; /* bytes from group to group and from key to key, as from value to value */
} Asked;
typedef struct { const Asked *asked; long heads, groups, head, size, stretches; } Attention;
typedef struct {
    _Alignas(64) uint32_t keys[WIDEST * KEYS], values[KEYS * WIDEST];
    float sums[STRETCH * WIDEST], most[STRETCH], total[STRETCH];
} Desk;

static WIDE void lay_out(Desk *desk, const Attention *m, const char *keys, const char *values, long step, long count) {
    const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const long size = m->size, units = m->head * size / 4, wide = WHOLE(m->head), of = 4 / size;
    ALONG(k, KEYS) ALONG(u, units) { /* 16 by 16 transposed: four times, halves interleaved */
        __m512i rows[16], mixed[16];
        EACH(i, 16) {
            const char *from = keys + (k + i) * step + 4 * u;
            rows[i] = _mm512_maskz_loadu_epi32(k + i < count ? LEFT(u, units) : 0, from);
            _mm_prefetch(from + KEYS * step, _MM_HINT_T0);
        }
        EACH(again, 4) {
            EACH(i, 16) mixed[i] = _mm512_permutex2var_epi32(rows[i / 2], i % 2 ? high : low, rows[i / 2 + 8]);
            EACH(i, 16) rows[i] = mixed[i];
        }
        EACH(i, 16) _mm512_storeu_si512(desk->keys + (u + i) * KEYS + k, rows[i]);
    }
    for (long k = 0; k < KEYS; k += of) ALONG(d, wide) {
        __m512i unit = _mm512_setzero_si512();
        for (long i = k; i < k + of; i++) {
            const __m512i number = (__m512i)get(values + i * step, d, size, i < count ? LEFT(d, m->head) : 0);
            unit = _mm512_or_si512(_mm512_srli_epi32(unit, 16), number);
            _mm_prefetch(values + (i + KEYS) * step + d * size, _MM_HINT_T0);
        }
        _mm512_storeu_si512(desk->values + k / of * wide + d, unit);
    }
}

/* `count` rows of units by 64 columns. */
INLINE WIDE_BF16 void multiply(const void *const rows[4], int count, int size, const uint32_t *columns, long apart,
                               long units, __m512 sums[4][4]) {
    for (long u = 0; u < units; u++, columns += apart) EACH(r, count) {
        const __m512i unit = _mm512_set1_epi32(((const int *)rows[r])[u]);
        EACH(k, 4) sums[r][k] = plus(sums[r][k], unit, _mm512_loadu_si512(columns + 16 * k), size);
    }
}

/* `count` rows, `place` being the first's among all and `row` on the desk, to the block of keys from `at` on. */
INLINE WIDE_BF16 void attend(const Attention *m, const Asked *asked, Desk *desk, int count, int size, long group,
                             long place, long row, long at) {
    const long head = m->head, wide = WHOLE(head), shared = m->heads / m->groups;
    const __m512 scale = _mm512_set1_ps(1 / sqrtf((float)head));
    const void *rows[4];
    uint32_t weights[4][KEYS];
    __m512 sums[4][4], less[4];
    EACH(r, count) EACH(k, 4) sums[r][k] = _mm512_setzero_ps();
    EACH(r, count) rows[r] = asked->query + ROW(place + r);
    multiply(rows, count, size, desk->keys, KEYS, head * size / 4, sums);
    EACH(r, count) {
        const long end = LEAST(asked->past + (place + r) / shared + 1, asked->length) - at;
        const __m512 most = _mm512_set1_ps(desk->most[row + r]);
        __m512 now = most, total = _mm512_setzero_ps();
        EACH(k, 4) {
            sums[r][k] = _mm512_mask_mul_ps(_mm512_set1_ps(-INFINITY), LEFT(16 * k, end), sums[r][k], scale);
            now = _mm512_max_ps(now, sums[r][k]);
        }
        now = _mm512_set1_ps(desk->most[row + r] = _mm512_reduce_max_ps(now));
        EACH(k, 4) {
            const __m512 weight = exponential(_mm512_sub_ps(sums[r][k], now));
            put(weights[r], 16 * k, size, 0xffff, _mm512_maskz_mov_ps(LEFT(16 * k, end), weight));
            total = _mm512_mask_add_ps(total, LEFT(16 * k, end), total, weight);
        }
        less[r] = exponential(_mm512_sub_ps(most, now));
        desk->total[row + r] = fmaf(desk->total[row + r], _mm512_cvtss_f32(less[r]), _mm512_reduce_add_ps(total));
        rows[r] = weights[r];
    }
    for (long d = 0; d < wide; d += 64) {
        float *const to = desk->sums + row * wide + d;
        EACH(r, count) EACH(k, 4) sums[r][k] = _mm512_mul_ps(_mm512_loadu_ps(to + r * wide + 16 * k), less[r]);
        multiply(rows, count, size, desk->values + d, wide, KEYS * size / 4, sums);
        EACH(r, count) EACH(k, 4) _mm512_storeu_ps(to + r * wide + 16 * k, sums[r][k]);
    }
}

static WIDE_BF16 void attend_parts(const void *all, long start, long stop) {
    const Attention *m = all;
    const long head = m->head, wide = WHOLE(head), shared = m->heads / m->groups, size = m->size;
    Desk desk;
    for (long part = start; part < stop; part++) {
        const Asked *asked = m->asked + part / m->stretches / m->groups;
        const long group = part / m->stretches % m->groups, first = part % m->stretches * STRETCH;
        const long rows = LEAST(asked->count * shared - first, STRETCH);
        const long length = LEAST(asked->past + (first + rows - 1) / shared + 1, asked->length);
        for (long r = 0; r < rows; r++) desk.most[r] = -INFINITY, desk.total[r] = 0;
        for (long i = 0; i < rows * wide; i++) desk.sums[i] = 0;
        for (long at = 0; at < length && rows > 0; at += KEYS) {
            const long from = group * asked->group + at * asked->step;
            lay_out(&desk, m, asked->keys + from, asked->values + from, asked->step, length - at);
            for (long row = 0, count; row < rows; row += count) {
                count = rows - row < 4 ? 1 : 4;
                if (asked->past + (first + row + count - 1) / shared < at) continue;
#define OF(n, bytes) if (count == n && size == bytes) attend(m, asked, &desk, n, bytes, group, first + row, row, at);
                OF(4, 2) OF(1, 2) OF(4, 4) OF(1, 4)
            }
        }
        for (long r = 0; r < rows; r++) ALONG(d, head) {
            const __m512 sum = _mm512_loadu_ps(desk.sums + r * wide + d);
            PUT(asked->out + ROW(first + r), d, head, _mm512_div_ps(sum, _mm512_set1_ps(desk.total[r])));
        }
    }
}

/* Attention of `count` positions in `spans`, an Asked each. */
void pixtral_attend(Attention *m, long spans, long count, int threads) {
    m->stretches = (count * (m->heads / m->groups) + STRETCH - 1) / STRETCH;
    share(attend_parts, m, spans * m->groups * m->stretches, 1, threads);
}

/* `x` (count by dim) becomes what the layers make of them, and the positions' keys and values are kept. `turns` are
 * cosines and sines, count by head / 2. 1: no memory. */
int pixtral_step(const Model *m, const Span *spans, long many, char *x, const float *turns, long count, int threads) {
    const long size = m->size, row = m->head * size, wide = m->heads * row, narrow = m->groups * row;
    char *y = calloc((size_t)count, (size_t)((m->dim + 2 * m->hidden) * size + 2 * (wide + narrow)));
    char *query = y + count * m->dim * size, *mixed = query + count * wide, *key = mixed + count * wide;
    char *value = key + count * narrow, *gate = value + count * narrow, *up = gate + count * m->hidden * size;
    Asked asked[many];
    Attention attention = {asked, m->heads, m->groups, m->head, size, 0};
    int failed = !y;
#define TIMES(matrix, from, to) failed |= pixtral_product(&layer->matrix, from, to, count, (int)size, threads)
    for (long number = 0; number < m->count && !failed; number++) {
        const Layer *layer = m->layers + number;
        norm(m, layer->attention_norm, x, y, count); /* y being what the layer before adds, at first zeros */
        TIMES(query, y, query), TIMES(key, y, key), TIMES(value, y, value);
        for (long each = 0, n = 0; each < many; each++) {
            const Kept kept = spans[each].layers[number];
            const long past = spans[each].past, length = past + spans[each].count, apart = kept.capacity * row;
            char *const keys = kept.store, *const values = keys + m->groups * apart, *asks = query + n * wide;
            asked[each] = (Asked){asks, keys, values, mixed + n * wide, length - past, past, length, apart, row};
            for (long at = past * row; at < length * row; at += row, n++, asks += wide) {
                rotate(m, turns + n * m->head, asks, asks, m->heads, row);
                rotate(m, turns + n * m->head, key + n * narrow, keys + at, m->groups, apart);
                char *to = values + at, *from = value + n * narrow;
                for (long g = 0; g < m->groups; g++) memcpy(to + g * apart, from + g * row, (size_t)row);
            }
        }
        pixtral_attend(&attention, many, count, threads);
        TIMES(out, mixed, y);
        norm(m, layer->feed_norm, x, y, count);
        TIMES(gate, y, gate), TIMES(up, y, up);
        gated(gate, up, count * m->hidden, size);
        TIMES(down, gate, y);
    }
    if (!failed) norm(m, m->layers->feed_norm, x, y, count); /* for the sum: the norm is for nobody */
    free(y);
    return failed;
}

#endif
