package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// quantile returns the q-quantile of values (0 to 1) by the nearest rank; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// ratios divides round by round, so that what disturbed both of a round does not show. Rounds without both are left out.
func ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if r := a[i] / b[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			out = append(out, r)
		}
	}
	return out
}

// A line is one way to send a request.
type line struct {
	send  func(context.Context) error
	every int // in so many blocks it is sent once
}

// paired sends blocks of requests until the time is over, though at least some, and returns what each took, in ms, by line and block; NaN:
// not sent. A block is a request by each line, in an order of its own: so no line always follows the same other one. A tenth of the least
// warms up.
func paired(ctx context.Context, lines []line, least int, limit time.Duration) ([][]float64, error) {
	took := make([][]float64, len(lines))
	end := time.Now().Add(limit)
	for block := -least / 10; block < least || time.Now().Before(end); block++ {
		for _, i := range rand.Perm(len(lines)) {
			ms := math.NaN()
			if block%lines[i].every == 0 {
				begin := time.Now()
				if err := lines[i].send(ctx); err != nil {
					return nil, err
				}
				ms = milliseconds(time.Since(begin))
			}
			if block >= 0 {
				took[i] = append(took[i], ms)
			}
		}
	}
	return took, nil
}

// An interval is an estimate, and where it lies with 95 %.
type interval struct{ value, low, high float64 }

func (v interval) String() string {
	return fmt.Sprintf("%s (%s–%s)", number(v.value), number(v.low), number(v.high))
}

// bootstrap estimates from n blocks, and again from samples of as many blocks, drawn with replacement. The samples are the same in
// each run. Source: B. Efron, "Bootstrap methods: another look at the jackknife" (1979); the percentile interval.
func bootstrap(n int, estimate func(sample []int) float64) interval {
	sample := make([]int, n)
	for i := range sample {
		sample[i] = i
	}
	v := interval{value: estimate(sample)}
	random := rand.New(rand.NewPCG(1, 2))
	var values []float64
	for range 300 {
		for i := range sample {
			sample[i] = random.IntN(n)
		}
		values = append(values, estimate(sample))
	}
	v.low, v.high = quantile(values, 0.025), quantile(values, 0.975)
	return v
}

// addedMedian estimates the median of the differences within a block.
func addedMedian(a, b []float64) func(sample []int) float64 {
	differences := minus(a, b)
	return func(sample []int) float64 { return median(pick(differences, sample)) }
}

// addedTail estimates the difference of both p99: the slowest requests of two lines are seldom in the same block.
func addedTail(a, b []float64) func(sample []int) float64 {
	return func(sample []int) float64 { return quantile(pick(a, sample), 0.99) - quantile(pick(b, sample), 0.99) }
}

func minus(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] - b[i]
	}
	return out
}

// pick returns the values of a sample of blocks that have one.
func pick(values []float64, sample []int) []float64 {
	out := make([]float64, 0, len(sample))
	for _, block := range sample {
		if v := values[block]; !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

// present leaves out the blocks that have no value.
func present(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), math.IsNaN)
}

// spread prints the median, and the least and the greatest in parentheses.
func spread(values []float64, unit string) string {
	if len(values) == 0 {
		return "–"
	}
	text := number(median(values)) + unit
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s–%s)", number(slices.Min(values)), number(slices.Max(values)))
	}
	return text
}

// middle prints the median, and the middle half of the values in parentheses: for values of which single ones may be far off.
func middle(values []float64, unit string) string {
	if len(values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s%s (%s–%s)", number(median(values)), unit, number(quantile(values, 0.25)), number(quantile(values, 0.75)))
}

// number prints about three digits.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1 || a < 0.0005:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A table is one of Markdown; the first row is the head.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

func (t table) String() string {
	var b strings.Builder
	for i, row := range t {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	return b.String()
}
