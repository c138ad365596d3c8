// Compares the logits of the images in vectors/images.bin with those in vectors/logits.bin, which the packed network
// computed that this program was exported from: bit for bit.
//
//   ./check-program [FOLDER]      the folder of the vectors, "vectors" unless given
#include <cstdio>
#include <cstring>

#include "model.h"

namespace model = bnn_model;

namespace {

model::Workspace workspace;
std::uint8_t image[model::channels * model::height * model::width];
float logits[model::classes], expected[model::classes];

std::FILE* opened(const char* folder, const char* name) {
    char path[4096];
    std::snprintf(path, sizeof path, "%s/%s", folder, name);
    std::FILE* file = std::fopen(path, "rb");
    if (!file) std::perror(path);
    return file;
}

}  // namespace

int main(int count, char** arguments) {
    const char* folder = count > 1 ? arguments[1] : "vectors";
    std::FILE *images = opened(folder, "images.bin"), *answers = opened(folder, "logits.bin");
    if (!images || !answers) return 3;
    int total = 0, equal = 0;
    while (std::fread(image, 1, sizeof image, images) == sizeof image &&
           std::fread(expected, 1, sizeof expected, answers) == sizeof expected) {
        model::run(image, 1, logits, workspace);
        const bool same = std::memcmp(logits, expected, sizeof logits) == 0;
        if (!same)
            std::printf("image %d: class %d, expected %d\n", total, model::predicted(logits),
                        model::predicted(expected));
        equal += same;
        ++total;
    }
    std::fclose(images);
    std::fclose(answers);
    const bool passed = total > 0 && equal == total;
    std::printf("%s: the logits of %d of %d images are equal, bit for bit\n", passed ? "PASS" : "FAIL", equal, total);
    return passed ? 0 : 1;
}
