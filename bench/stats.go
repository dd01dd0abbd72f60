package main

import (
	"fmt"
	"math"
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

func minus(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		out = append(out, a[i]-b[i])
	}
	return out
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
