package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cuda"
	"weir/internal/backend/cuda/kern"
	"weir/internal/engine"
	"weir/internal/host"
)

// deviceOptions say what computes. serve, run and bench share them.
type deviceOptions struct {
	Device       string `help:"What computes: cuda, an NVIDIA GPU; cpu; auto, the GPU if there is one that weir can use, else the CPU." enum:"auto,cpu,cuda" default:"auto" placeholder:"auto" group:"Engine"`
	GPU          int    `name:"gpu" help:"Number of the GPU, from 0." default:"0" group:"Engine"`
	GPUKernels   string `name:"gpu-kernels" help:"Kernels to use on the GPU: sm_80, sm_89 or sm_90a; best: the fastest that it runs." default:"best" placeholder:"best" group:"Engine"`
	GPUWeights   string `name:"gpu-weights" help:"How to hold matrices that the file has as BF16, F16, F32 or a type without kernels of its own on a GPU: bf16, or fp8 (E4M3 with a scale a row), which takes half of it and is faster, less exactly." enum:"bf16,fp8" default:"bf16" placeholder:"bf16" group:"Engine"`
	EnforceEager bool   `help:"On a GPU, start every kernel of every step by itself, and record no graphs; slower." group:"Engine"`
}

// check is part of Validate.
func (o *deviceOptions) check(deterministic bool) error {
	if o.GPUKernels != "best" {
		if _, err := kern.ParseTarget(o.GPUKernels); err != nil {
			return fmt.Errorf("--gpu-kernels: %w", err)
		}
	}
	switch {
	case o.Device == "cuda" && deterministic:
		return errors.New("--deterministic promises the same bits on every machine, which a GPU can't; leave it out, or use --device cpu")
	case o.GPU < 0:
		return fmt.Errorf("--gpu is %d; it must be a GPU's number, from 0", o.GPU)
	}
	return nil
}

// gpu opens the GPU if the options want one; nil: the CPU computes.
func (o *deviceOptions) gpu(deterministic bool, log *slog.Logger) (*cuda.Backend, error) {
	if o.Device == "cpu" || deterministic {
		return nil, nil
	}
	keepKernels()
	options := cuda.Options{Device: o.GPU, Eager: o.EnforceEager}
	if o.GPUKernels != "best" {
		options.Target = o.GPUKernels
	}
	if o.GPUWeights == "fp8" {
		options.Weights = cuda.AsE4M3
	}
	b, err := cuda.Open(options)
	switch {
	case err == nil:
		log.Info("computing on a GPU", "gpu", b.Describe(), "kernels", b.Info().Level)
		return b, nil
	case o.Device == "cuda":
		return nil, fmt.Errorf("--device cuda: %w", err)
	case !errors.Is(err, cuda.ErrAbsent):
		log.Warn("computing on the CPU: the GPU can't be used", "reason", err)
	}
	return nil, nil
}

// keepKernels has the driver keep the kernels that it compiles with what else weir keeps,
// unless it has been told where: a container mounts one folder then.
func keepKernels() {
	const place = "CUDA_CACHE_PATH"
	if _, told := os.LookupEnv(place); told {
		return
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return
	}
	dir = filepath.Join(dir, "weir", "kernels")
	// Where there can be no folder, the driver compiles at each start, no more.
	if os.MkdirAll(dir, 0o700) == nil {
		_ = os.Setenv(place, dir)
	}
}

// gpuBatchTokens is how many tokens a step has on a GPU if nothing is said: so
// many fill its matrix units.
const gpuBatchTokens = 2048

// fitGPU changes what loadOptions says of this machine to what holds for its GPU.
func (o *memoryOptions) fitGPU(to *engine.LoadOptions, b *cuda.Backend) error {
	free, total, unified, err := b.Memory()
	if err != nil {
		return fmt.Errorf("asking the GPU for its memory: %w", err)
	}
	what := fmt.Sprintf("%s free of %s on the GPU", host.Bytes(free), host.Bytes(total))
	if unified { // the GPU's free memory leaves out what caches would give back
		what = fmt.Sprintf("what is available on this machine, which shares its memory with the GPU (%s)", to.BudgetFrom)
		free = to.Budget
		if o.Memory.share > 0 {
			free = int64(float64(free) / o.Memory.share)
		}
	}
	asked, portion := o.Memory, func(all int64) int64 { return all }
	if o.portion != nil {
		asked, portion = o.portion.whole, o.portion.of
	}
	switch {
	case asked.share > 0 && o.portion != nil: // what is free is less with each model that is loaded
		return fmt.Errorf("several models share the GPU: give --memory as the size that they may take together, of %s", what)
	case asked.share > 0:
		to.Budget, to.BudgetFrom = int64(asked.share*float64(free)), fmt.Sprintf("%.0f%% of %s", asked.share*100, what)
	case asked.bytes > total:
		return fmt.Errorf("--memory is %s but the GPU has %s; ask for less, or for a share such as 80%%", host.Bytes(asked.bytes), host.Bytes(total))
	default:
		to.Budget, to.BudgetFrom = max(1, portion(asked.bytes)), "as --memory says, of "+what
	}
	if o.BatchTokens == nil {
		to.Limits.BatchTokens = max(gpuBatchTokens, o.MaxRunning)
	}
	return nil
}

// cpuBackend is what computes without a GPU.
func (o *computeOptions) cpuBackend(threads int) (backend.Backend, error) {
	level, err := o.level()
	if err != nil {
		return nil, err
	}
	return cpu.New(cpu.Options{Threads: threads, Pool: o.pool, Level: level, Deterministic: o.Deterministic})
}

// onGPU loads the model onto the GPU, if the options want one and there is one. It
// leaves o alone where the CPU is to compute.
func (o *opened) onGPU(e engineOptions, options engine.LoadOptions) error {
	b, err := e.gpu(e.Deterministic, o.log)
	if err != nil || b == nil {
		return err
	}
	err = e.fitGPU(&options, b)
	if err == nil {
		err = o.load(b, options, e)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(b.TooWide(err, errors.Is(err, engine.ErrNoRoom)), b.Close())
	if e.Device == "auto" && errors.Is(err, cuda.ErrUnsupported) {
		o.log.Warn("computing on the CPU: the GPU can't compute with this model", "reason", err)
		return nil
	}
	return err
}

// load starts an engine on a backend, which is then o's.
func (o *opened) load(b backend.Backend, options engine.LoadOptions, e engineOptions) (err error) {
	options.Backend, o.backend = b, b
	defer func() {
		if err != nil {
			o.backend = nil
		}
	}()
	if err = o.keepCache(&options, e); err != nil {
		return err
	}
	o.engine, o.plan, err = engine.Load(o.file, options)
	return err
}
