// Stands for torch's CUDA library where only a CPU build of torch is installed: its name and the one function that
// `_ops_cuda` takes from it, for the linker. It is not installed; the real one is loaded by torch before `_ops_cuda`.
#include <cstdint>

extern "C" int32_t aoti_torch_get_current_cuda_stream(int32_t, void**) { return 1; }
