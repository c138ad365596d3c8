// Classifies images: raw bytes [channels][height][width] one after the other, from a file or from the standard input.
//
//   ./classify images.bin              the class of each image, a line each
//   ./classify --logits < images.bin   its logits instead, float32 as in memory
#include <cstdio>
#include <cstring>

#include "model.h"

namespace model = bnn_model;

namespace {

model::Workspace workspace;
std::uint8_t image[model::channels * model::height * model::width];
float logits[model::classes];

int classify(std::FILE* file, bool as_logits) {
    std::size_t read = 0;
    while ((read = std::fread(image, 1, sizeof image, file)) == sizeof image) {
        model::run(image, 1, logits, workspace);
        if (as_logits)
            std::fwrite(logits, sizeof(float), model::classes, stdout);
        else
            std::printf("%d\n", model::predicted(logits));
    }
    if (read == 0) return 0;
    std::fprintf(stderr, "error: the last image has %zu bytes; %zu were needed\n", read, sizeof image);
    return 2;
}

}  // namespace

int main(int count, char** arguments) {
    const bool as_logits = count > 1 && std::strcmp(arguments[1], "--logits") == 0;
    const char* path = count > 1 + as_logits ? arguments[1 + as_logits] : nullptr;
    if (!path) return classify(stdin, as_logits);
    std::FILE* file = std::fopen(path, "rb");
    if (!file) {
        std::perror(path);
        return 3;
    }
    const int code = classify(file, as_logits);
    std::fclose(file);
    return code;
}
