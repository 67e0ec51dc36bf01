# What CI runs is .ci/run; these are its steps by short names.

test: # all tests, and which of them skip
	.ci/run test

race: # the concurrent packages under the race detector
	.ci/run race

lint: # formatting, vet, staticcheck, the house rules
	.ci/run format vet staticcheck
	go test ./internal/lint

bench: # every benchmark, six times, for benchstat
	go test -run '^$$' -bench . -benchmem -count 6 ./...

fuzz: # each fuzz target for a minute
	FUZZ_TIME=1m FUZZ_BUDGET=7200 .ci/run fuzz

.PHONY: test race lint bench fuzz
