package order

import "testing"

func TestQueue(t *testing.T) {
	var q Queue[int]
	first := make(chan struct{})
	for i := range 5 {
		q.Add(func() int {
			if i == 0 {
				<-first // ends after all others
			}
			if i == 4 {
				close(first)
			}
			return i
		})
	}
	for want := range 5 {
		if q.Len() != 5-want {
			t.Errorf("%d tasks", q.Len())
		}
		if got := q.Next(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	for q.Full() {
		t.Error("full and empty")
	}
	for !q.Full() {
		q.Add(func() int { return 0 })
	}
}
