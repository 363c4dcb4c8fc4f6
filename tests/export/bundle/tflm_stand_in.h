// Stands in for TensorFlow Lite Micro: knows the golden answers, and fails where the environment says so.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "door_int8_golden.h"

#define TFLITE_SCHEMA_VERSION 3
#define TF_LITE_ENSURE_STATUS(a) \
  do { if ((a) != kTfLiteOk) return kTfLiteError; } while (0)
#define MicroPrintf(...) (std::printf(__VA_ARGS__), std::printf("\n"))

enum TfLiteStatus { kTfLiteOk, kTfLiteError };

struct TfLiteTensor {
  union { char* raw; int8_t* int8; } data;
  size_t bytes;
};

inline bool Fails(const char* step) {
  const char* failing = std::getenv("FAILS");
  return failing != nullptr && std::strcmp(failing, step) == 0;
}

namespace tflite {

inline void InitializeTarget() {}

struct Model {
  unsigned version() const { return Fails("version") ? 2 : 3; }
};

inline const Model* GetModel(const void*) {
  static Model model;
  return &model;
}

template <unsigned N>
struct MicroMutableOpResolver {
  static TfLiteStatus Added() { return Fails("register") ? kTfLiteError : kTfLiteOk; }
  METHODS
};

class MicroInterpreter {
 public:
  template <typename Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t*, size_t) {}
  TfLiteStatus AllocateTensors() { return Fails("allocate") ? kTfLiteError : kTfLiteOk; }
  size_t arena_used_bytes() const { return 1; }
  TfLiteTensor* input(int) { return Fails("input") ? nullptr : &input_; }
  TfLiteTensor* output(int) { return Fails("output") ? nullptr : &output_; }
  TfLiteStatus Invoke() {
    for (int v = 0; v < kDoorInt8GoldenVectors; v++) {
      if (std::memcmp(in_, kDoorInt8GoldenInput[v], sizeof in_) == 0) {
        std::memcpy(out_, kDoorInt8GoldenOutput[v], sizeof out_);
      }
    }
    out_[9] = static_cast<int8_t>(out_[9] ^ Fails("scores"));
    return Fails("invoke") ? kTfLiteError : kTfLiteOk;
  }

 private:
  int8_t in_[sizeof kDoorInt8GoldenInput[0]], out_[sizeof kDoorInt8GoldenOutput[0]];
  TfLiteTensor input_{{reinterpret_cast<char*>(in_)}, sizeof in_};
  TfLiteTensor output_{{reinterpret_cast<char*>(out_)}, sizeof out_};
};

}  // namespace tflite
