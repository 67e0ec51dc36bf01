//go:build race

package main

// underRace says that the race detector is built in: a program then takes five to
// ten times the memory, and its times say nothing.
const underRace = true
