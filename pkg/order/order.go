// Package order runs tasks side by side and keeps their order.
package order

import "runtime"

// A Queue gives the results of tasks in the order in which they were added. The zero Queue is empty. It is for one goroutine; the
// tasks run in others.
type Queue[T any] struct {
	running []chan T
}

// Add starts a task. A panic in it ends the program, as it does in every goroutine.
func (q *Queue[T]) Add(task func() T) {
	done := make(chan T, 1) // a task ends even if nobody wants its result
	q.running = append(q.running, done)
	go func() { done <- task() }()
}

// Len is how many tasks were added whose results were not taken.
func (q *Queue[T]) Len() int { return len(q.running) }

// Full reports whether there are tasks enough to keep all cores busy.
func (q *Queue[T]) Full() bool { return len(q.running) >= 2*runtime.GOMAXPROCS(0) }

// Next waits for the oldest task and returns its result. There must be one.
func (q *Queue[T]) Next() T {
	result := <-q.running[0]
	q.running = q.running[1:]
	return result
}
