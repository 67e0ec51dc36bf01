// Package bench measures how fast weir computes, in a way that holds.
//
// What it measures is the real path: token prompts go through
// engine.Engine.Generate, and the times are those at which a client gets its
// tokens. Three kinds of work are timed:
//
//   - prefill: one prompt, from the request to its first token;
//   - decode: one sequence, from its first token on;
//   - batched decode: several sequences, while all of them decode.
//
// # What makes a figure hold
//
// A speed alone says little about an engine: the machine may be slow, or busy. So
// each measurement stands between two probes of the machine, made on the same
// threads: how fast memory is read (over a gigabyte of random bytes, a part at a
// time) and how fast the level's best instruction multiplies and adds. What a
// step must at least read and compute ([Costs]) over these rates is its floor,
// and every speed is also told as its share of them.
//
// Measurements take turns: a round has one of each, after a round that warms up
// and is not counted. So what slows the machine for a while slows all, and the
// medians over rounds stay comparable. Prompts are never the same twice, so that
// no cache of prefixes helps; the report tells its hits.
//
// Whatever else ran is part of the report: processor time that other processes
// took, time that the hypervisor took, the load average. A figure with too much
// of that, or too wide a spread, is called noisy.
//
// # Random weights
//
// [Random] makes a model of a named [Shape] without a download: every byte of
// every block is random, and the blocks' scales are such that numbers keep their
// size through the layers. Speed does not depend on the values, but processors
// do slow down less on zeros, so zeros would flatter.
package bench
