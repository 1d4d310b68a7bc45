/* tally: see tally.h. */
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static void *shared(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "swarm: no memory for the counts\n");
        exit(1);
    }
    return at;
}

struct tally *tally_create(const struct scenario *scenario)
{
    struct tally *tally = shared(sizeof *tally);
    uint32_t channels = scenario->channels > 0 ? scenario->channels : 1;
    tally->processes = scenario->processes;
    tally->channels = scenario->channels;
    tally->run = now_ns();
    tally->at = shared(channels * sizeof *tally->at);
    tally->delivered = shared((size_t)channels * scenario->processes * sizeof *tally->delivered);
    return tally;
}

uint64_t tally_delivered(const struct tally *tally, uint32_t channel)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < tally->processes; i++)
        sum += tally->delivered[(size_t)channel * tally->processes + i];
    return sum;
}

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
