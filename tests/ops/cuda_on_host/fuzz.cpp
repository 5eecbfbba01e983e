// Runs random cases of every kernel: fuzz [cases] [seed] [kind]. One case with the seed and the kind of a failure repeats it.
// Stops after 20 failures. Prints a line for each kind; exits with 1 if a case failed.
#include "fuzz.h"

#include <cstdio>
#include <cstdlib>

constexpr int64_t kMaxFailures = 20;

int main(int count, char** arguments) {
  const int64_t cases = count > 1 ? std::atoll(arguments[1]) : 1000;
  const int64_t seed = count > 2 ? std::atoll(arguments[2]) : 0;
  const std::string kind = count > 3 ? arguments[3] : "";
  std::vector<fuzz::Kind> kinds;
  for (const fuzz::Kind& one : fuzz::kinds()) {
    if (one.name.find(kind) != std::string::npos) kinds.push_back(one);
  }
  std::vector<int64_t> runs(kinds.size()), failures(kinds.size());
  std::vector<double> largest(kinds.size());
  int64_t failed = 0;
  for (int64_t i = 0; i < cases && !kinds.empty() && failed < kMaxFailures; ++i) {
    const size_t k = i % kinds.size();
    fuzz::Random random(seed + i);
    host::set_schedule(random.bits());
    ++runs[k];
    try {
      largest[k] = std::max(largest[k], kinds[k].run(random));
    } catch (const std::runtime_error& error) {
      ++failed;
      if (++failures[k] > 3) continue;
      std::printf("%s, seed %lld: %s\n", kinds[k].name.c_str(), (long long)(seed + i), error.what());
    }
  }
  for (size_t k = 0; k < kinds.size(); ++k) {
    std::printf(
        "%s: %lld cases, %lld failed, at most %.2f of the allowed error\n", kinds[k].name.c_str(), (long long)runs[k],
        (long long)failures[k], largest[k]);
  }
  return kinds.empty() || failed > 0;
}
