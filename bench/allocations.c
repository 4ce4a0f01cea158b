/* Counts the blocks that a program takes from the allocator of glibc, and their octets, in a file for each process. For attribution.py.

   cc -O2 -shared -fPIC -o allocations.so allocations.c
   ALLOCATIONS=FOLDER LD_PRELOAD=./allocations.so PROGRAM

   FOLDER/PID holds two numbers of 64 bits: blocks and octets, from malloc, calloc and realloc. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

struct counts {
    _Atomic uint64_t blocks, octets;
};

static struct counts unseen;
static struct counts *counts = &unseen;

/* A forked process counts in a file of its own. */
static void open_file(void) {
    char path[4096];
    const char *folder = getenv("ALLOCATIONS");
    counts = &unseen;
    if (!folder || snprintf(path, sizeof path, "%s/%d", folder, (int)getpid()) >= (int)sizeof path) return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) return;
    if (ftruncate(file, sizeof *counts) == 0) {
        void *shared = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) counts = shared;
    }
    close(file);
}

__attribute__((constructor)) static void begin(void) {
    open_file();
    pthread_atfork(NULL, NULL, open_file);
}

static void count(size_t octets) {
    atomic_fetch_add_explicit(&counts->blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->octets, octets, memory_order_relaxed);
}

void *malloc(size_t octets) {
    count(octets);
    return __libc_malloc(octets);
}

void *calloc(size_t number, size_t octets) {
    count(number * octets);
    return __libc_calloc(number, octets);
}

void *realloc(void *block, size_t octets) {
    count(octets);
    return __libc_realloc(block, octets);
}
