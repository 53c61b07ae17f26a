"""Functions of C that a student's file has copies of, those alone that it calls.

``NAME`` stands for what names in the file start with.
"""

__all__ = ["HELPERS"]

HELPERS = {
    "dense": """\
static void NAME_dense(const float *restrict w, const float *restrict b, int n_in, int n_out,
                       const float *restrict x, float *restrict y)
{
    int i, j;
    for (j = 0; j < n_out; j++)
        y[j] = b[j];
    for (i = 0; i < n_in; i++, w += n_out) {
        const float v = x[i];
        if (v == 0.0f)
            continue;
        for (j = 0; j < n_out; j++)
            y[j] += v * w[j];
    }
}
""",
    "dense8": """\
static void NAME_dense8(const signed char *restrict w, const float *restrict scale,
                        const float *restrict b, int n_in, int n_out,
                        const float *restrict x, float *restrict y)
{
    int i, j;
    for (j = 0; j < n_out; j++)
        y[j] = 0.0f;
    for (i = 0; i < n_in; i++, w += n_out) {
        const float v = x[i];
        if (v == 0.0f)
            continue;
        for (j = 0; j < n_out; j++)
            y[j] += v * (float)w[j];
    }
    for (j = 0; j < n_out; j++)
        y[j] = y[j] * scale[j] + b[j];
}
""",
    "relu": """\
static void NAME_relu(float *x, int n)
{
    int k;
    for (k = 0; k < n; k++)
        x[k] = x[k] < 0.0f ? 0.0f : x[k];
}
""",
    "tanh": """\
static void NAME_tanh(float *x, int n)
{
    int k;
    for (k = 0; k < n; k++)
        x[k] = tanhf(x[k]);
}
""",
    "silu": """\
static void NAME_silu(float *x, int n)
{
    int k;
    for (k = 0; k < n; k++)
        x[k] = x[k] / (1.0f + expf(-x[k]));
}
""",
    "gelu": """\
static void NAME_gelu(float *x, int n)
{
    int k;
    for (k = 0; k < n; k++)
        x[k] = 0.5f * x[k] * (1.0f + erff(x[k] * 0.70710678f));
}
""",
    "add": """\
static void NAME_add(float *x, const float *y, int n)
{
    int k;
    for (k = 0; k < n; k++)
        x[k] += y[k];
}
""",
    "affine": """\
static void NAME_affine(const float *mean, const float *std, int n, const float *x, float *y)
{
    int k;
    for (k = 0; k < n; k++)
        y[k] = (x[k] - mean[k]) / std[k];
}
""",
    "norm": """\
static void NAME_norm(const float *gain, const float *bias, float eps, int n, const float *x,
                      float *y)
{
    double mean = 0.0, square = 0.0;
    int k;
    for (k = 0; k < n; k++)
        mean += x[k];
    mean /= n;
    for (k = 0; k < n; k++)
        square += (x[k] - mean) * (x[k] - mean);
    square = sqrt(square / n + eps);
    for (k = 0; k < n; k++)
        y[k] = (float)((x[k] - mean) / square) * gain[k] + bias[k];
}
""",
    "bins": """\
/* Of each number its bins, whose edges follow each other; one more edge than bins. */
static void NAME_bins(const int *count, const float *edge, int n, const float *x, float *y)
{
    int k, b;
    for (k = 0; k < n; k++) {
        for (b = 0; b < count[k]; b++, edge++) {
            const float v = (x[k] - edge[0]) / (edge[1] - edge[0]);
            *y++ = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
        }
        edge += count[k] > 0;
    }
}
""",
    "angles": """\
static void NAME_angles(const float *frequency, int n, float x, float *y)
{
    int k;
    for (k = 0; k < n; k++) {
        const float angle = 6.2831853f * (x * frequency[k]);
        y[k] = cosf(angle);
        y[k + n] = sinf(angle);
    }
}
""",
    "codes": """\
static void NAME_codes(const float *table, const int *count, const int *first, int n, int size,
                       const float *x, float *y)
{
    int k, s;
    for (k = 0; k < n; k++) {
        const int code = x[k] >= 0.0f && x[k] < (float)count[k] ? (int)x[k] : 0;
        for (s = 0; s < size; s++)
            *y++ = table[(first[k] + code) * size + s];
    }
}
""",
    "codes8": """\
static void NAME_codes8(const signed char *table, const float *scale, const int *count,
                        const int *first, int n, int size, const float *x, float *y)
{
    int k, s;
    for (k = 0; k < n; k++) {
        const int code = x[k] >= 0.0f && x[k] < (float)count[k] ? (int)x[k] : 0;
        const int row = first[k] + code;
        for (s = 0; s < size; s++)
            *y++ = scale[row] * (float)table[row * size + s];
    }
}
""",
    "scaled": """\
static void NAME_scaled(const int *column, const float *center, const float *scale, int n,
                        const float *x, float *z)
{
    int k;
    for (k = 0; k < n; k++) {
        float v = (x[column[k]] - center[k]) / scale[k];
        v = v > 1e6f ? 1e6f : v < -1e6f ? -1e6f : v;
        v /= sqrtf(1.0f + (v / 3.0f) * (v / 3.0f));
        z[k] = v == v ? v : 0.0f;
    }
}
""",
    "missing": """\
static void NAME_missing(const int *column, const int *place, int n, const float *x, float *z)
{
    int k;
    for (k = 0; k < n; k++)
        z[place[k]] = x[column[k]] == x[column[k]] ? 0.0f : 1.0f;
}
""",
    "categories": """\
/* A line is: column, place, categories, code of missing, and 0 for flags, 1 or 2 for the sign of
   so many categories, 3 for the code itself. */
static void NAME_categories(const int *lines, int n, const float *x, float *z)
{
    int k;
    for (k = 0; k < n; k++, lines += 5) {
        const float v = x[lines[0]];
        int code = v != v ? lines[3] : v >= 0.0f && v <= (float)lines[2] ? (int)v : 0;
        if (v == v && (float)code != v)
            code = 0;
        if (lines[4] == 0) {
            if (code > 0)
                z[lines[1] + code - 1] = 1.0f;
        } else if (lines[4] == 1) {
            z[lines[1]] = code == 1 ? 1.0f : -1.0f;
        } else if (lines[4] == 2) {
            z[lines[1]] = code == 2 ? 1.0f : code == 1 ? -1.0f : 0.0f;
        } else {
            z[lines[1]] = (float)code;
        }
    }
}
""",
    "add_proba": """\
static void NAME_add_proba(const float *logits, int n, double *sum)
{
    double most = logits[0], total = 0.0;
    int k;
    for (k = 1; k < n; k++)
        most = logits[k] > most ? logits[k] : most;
    for (k = 0; k < n; k++)
        total += exp(logits[k] - most);
    for (k = 0; k < n; k++)
        sum[k] += exp(logits[k] - most) / total;
}
""",
    "add_logit": """\
static void NAME_add_logit(const float *logits, int n, double *sum)
{
    int k;
    for (k = 0; k < n; k++)
        sum[k] += logits[k];
}
""",
    "add_vote": """\
static void NAME_add_vote(const float *logits, int n, double *sum)
{
    int k, best = 0;
    for (k = 1; k < n; k++)
        best = logits[k] > logits[best] ? k : best;
    sum[best] += 1.0;
}
""",
    "mean": """\
static void NAME_mean(const double *sum, int n, double members, float *proba)
{
    int k;
    for (k = 0; k < n; k++)
        proba[k] = (float)(sum[k] / members);
}
""",
    "logarithms": """\
static void NAME_logarithms(double *sum, int n)
{
    int k;
    for (k = 0; k < n; k++)
        sum[k] = log(sum[k]);
}
""",
    "softmax": """\
static void NAME_softmax(const double *score, int n, double temperature, float *proba)
{
    double most = score[0], total = 0.0;
    int k;
    for (k = 1; k < n; k++)
        most = score[k] > most ? score[k] : most;
    for (k = 0; k < n; k++)
        total += exp((score[k] - most) / temperature);
    for (k = 0; k < n; k++)
        proba[k] = (float)(exp((score[k] - most) / temperature) / total);
}
""",
}
