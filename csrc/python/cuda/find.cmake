# Sets CMAKE_CUDA_COMPILER and the architectures, or CUDA_MISSING to what is missing. Before the language is enabled, because
# an old compiler would make that an error of the whole build.
include(CheckLanguage)
set(CUDA_MISSING)
set(OLDEST_CUDA 12.0)  # C++20 and sm_90a

# sm_90a: what only Hopper has; the rest is Ampere's and Ada's own code, the fallback for what is older, and PTX for what is
# newer.
set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90a-real 90-virtual CACHE STRING "CUDA architectures")

check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(CUDA_MISSING "no CUDA compiler was found; nvcc was needed on the PATH or in CUDACXX")
  return()
endif()
execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE text ERROR_QUIET)
string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" found "${text}")
if(NOT found OR CMAKE_MATCH_1 VERSION_LESS OLDEST_CUDA)
  set(CUDA_MISSING "${CMAKE_CUDA_COMPILER} is CUDA ${CMAKE_MATCH_1}; ${OLDEST_CUDA} or newer was needed")
endif()
