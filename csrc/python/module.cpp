// What is not a tensor: how the extension was built, what this processor can run, and which variant does.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "../core/cpu.h"
#include "../core/machine_limit.h"
#include "../core/variant.h"

namespace py = pybind11;

void bind_network(py::module_& m);  // network.cpp

PYBIND11_MODULE(_C, m) {
    m.doc() = "Build information and kernel variants; the tensor ops live in torch.ops.bnnkit.";
    m.def("build_info", [] {
        py::dict info;
        info["compiler"] = __VERSION__;
        info["torch_target"] = "2.10";
#ifdef NDEBUG
        info["assertions"] = false;
#else
        info["assertions"] = true;
#endif
        return info;
    });
    m.def("cpu_features", [] {
        const auto& f = bnnkit::cpu_features();
        py::dict features;
        features["neon"] = f.neon;
        features["avx2"] = f.avx2;
        features["avx512"] = f.avx512;
        features["amx"] = f.amx;
        return features;
    });
    m.def("variants", &bnnkit::known_variants,
          "All variants by name, lowest first; a build contains those of its architecture.");
    m.def("usable_variants", &bnnkit::usable_variants, "Variants this processor can execute, lowest first.");
    m.def(
        "force_variant", [](const std::optional<std::string>& name) { bnnkit::force_variant(name.value_or("")); },
        py::arg("name"),
        "Limit every kernel to variants up to `name`; None lifts the limit. ValueError if it cannot run here.");
    m.def(
        "forced_variant",
        []() -> std::optional<std::string> {
            const std::string name = bnnkit::forced_variant();
            return name.empty() ? std::nullopt : std::optional(name);
        },
        "The limit set by force_variant or BNNKIT_VARIANT, or None.");
    m.def("last_variant", &bnnkit::last_variant, py::arg("kernel"),
          "Variant that the kernel's latest call ran, or ''.");
    m.def("machine_limit", &bnnkit::machine_limit, py::arg("variant"), py::arg("seconds"),
          py::call_guard<py::gil_scoped_release>(),
          "Binary multiply-accumulates per second of a register-only loop on one thread; 0 if there is none.");
    bind_network(m);
}
