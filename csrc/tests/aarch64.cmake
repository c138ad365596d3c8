# Toolchain of `make test-arm`: GNU C++ for 64-bit ARM, tests run by QEMU's user-mode emulator.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# The emulator needs the folder whose lib/ holds the loader and the C++ library of the target.
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=ld-linux-aarch64.so.1
                OUTPUT_VARIABLE loader OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
get_filename_component(sysroot ${loader}/../.. ABSOLUTE)
find_program(QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64 REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${QEMU_AARCH64} -L ${sysroot})
