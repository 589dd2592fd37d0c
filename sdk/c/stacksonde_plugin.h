/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Exporters for Stacksonde in C, or in any language that speaks C: version 1.0 of this door.
 *
 * A plugin is one shared library. It includes this header once, defines a `struct stacksonde_exporter`, and
 * says STACKSONDE_EXPORTER. See example/top.c, and docs/writing-a-plugin.md.
 *
 * Rules
 *
 * - Everything that is passed to a function is borrowed for the call: copy what you keep. Texts are UTF-8, have
 *   a length and no NUL at their end.
 * - A structure begins with its size in bytes, as its maker knows it. Later minor versions append fields and do
 *   nothing else: read a field only if it lies within the size that is stated. The host does likewise.
 * - Functions return 0, or nonzero after filling in the `struct stacksonde_error` that they were given. The
 *   host never calls two functions of one instance at once, nor from two threads.
 * - Neither exceptions nor longjmp may leave a function, and nothing may call exit(). There is no containment
 *   for a plugin in C that crashes: it shares the process with the agent.
 * - The calling thread blocks all signals and has no capabilities.
 */
#ifndef STACKSONDE_PLUGIN_H
#define STACKSONDE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed text. */
struct stacksonde_text {
    const char *ptr;
    uint64_t len;
};

/* Borrowed bytes. */
struct stacksonde_bytes {
    const uint8_t *ptr;
    uint64_t len;
};

/* Possible reactions of the host to a failure. A number that the host does not know counts as
 * PERMANENT. */
#define STACKSONDE_RETRYABLE 1u /* the same call may succeed later */
#define STACKSONDE_PERMANENT 2u /* the same call will never succeed; others may */

/* Why a call did not do what was asked. The host owns it and clears it before each call. */
struct stacksonde_error {
    uint32_t size;
    uint32_t kind;      /* STACKSONDE_RETRYABLE or STACKSONDE_PERMANENT, which 0 is taken for */
    uint64_t after_ms;  /* RETRYABLE: not before this many milliseconds from now; 0 leaves it to the host */
    char *message;      /* room for the operator's sentence, of message_room bytes */
    uint64_t message_room;
    uint64_t message_len; /* bytes of it that you have written */
};

/* Levels of events. */
#define STACKSONDE_ERROR 1u
#define STACKSONDE_WARN 2u
#define STACKSONDE_INFO 3u
#define STACKSONDE_DEBUG 4u
#define STACKSONDE_TRACE 5u

/* Functions of the host that a plugin may call, from any thread and at any time after init. */
struct stacksonde_host {
    uint64_t size;
    /* Tells whether the host would keep an event of this level. */
    int32_t (*enabled)(uint32_t level);
    /* Takes an event: the name of an instance (or of the plugin) and one line of text. */
    void (*event)(uint32_t level, struct stacksonde_text instance, struct stacksonde_text message);
};

/* The data that the host can hand over. */
struct stacksonde_offer {
    uint32_t size;
    uint32_t format;          /* the batch format: 1 */
    uint64_t max_bytes;       /* the largest batch */
    uint64_t interval_ms;     /* the shortest interval between batches */
    uint32_t names_available; /* whether function names can be had */
    uint32_t reserved;
};

/* The wishes of an exporter. The host fills in the defaults: everything, with names. */
struct stacksonde_wants {
    uint32_t size;
    uint32_t names;           /* 0: addresses only; the host symbolizes only if some exporter wants names */
    uint64_t max_bytes;       /* the largest batch that it takes; 0 for no limit of its own */
    uint64_t min_interval_ms; /* the shortest interval between batches; 0 for any */
};

/* An exporter. Functions that may be NULL say so. `config` is the instance's table as a JSON object. */
struct stacksonde_exporter {
    uint64_t size;
    /* Once, before anything else. `host` stays valid for the life of the process. May be NULL. */
    int32_t (*init)(const struct stacksonde_host *host, struct stacksonde_error *error);
    /* Chooses from what the host offers, or refuses with a sentence. May be NULL. */
    int32_t (*negotiate)(struct stacksonde_text config, const struct stacksonde_offer *offer,
                         struct stacksonde_wants *wants, struct stacksonde_error *error);
    /* Makes the instance that the configuration names `name`, and leaves it in `*instance`. */
    int32_t (*create)(struct stacksonde_text name, struct stacksonde_text config, void **instance,
                      struct stacksonde_error *error);
    /* Takes one batch (stacksonde_batch.h). The same one may come again after STACKSONDE_RETRYABLE. */
    int32_t (*export_batch)(void *instance, struct stacksonde_bytes batch, struct stacksonde_error *error);
    /* Sends what is held back. May be NULL. */
    int32_t (*flush)(void *instance, struct stacksonde_error *error);
    /* The last call before destroy. May be NULL. */
    int32_t (*shutdown)(void *instance, struct stacksonde_error *error);
    /* Frees the instance. */
    void (*destroy)(void *instance);
};

/* Writes a sentence into an error, cut where there is no room, and returns nonzero. */
static inline int32_t stacksonde_fail(struct stacksonde_error *error, uint32_t kind, const char *message)
{
    uint64_t len = 0;
    error->kind = kind;
    while (message[len] != 0 && len < error->message_room) {
        error->message[len] = message[len];
        len++;
    }
    error->message_len = len;
    return 1;
}

#if defined(__x86_64__)
#define STACKSONDE_TARGET_ "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define STACKSONDE_TARGET_ "aarch64-linux-gnu"
#else
#error "Stacksonde runs on x86-64 and on 64-bit ARM"
#endif

/*
 * Makes the library a plugin: puts the manifest into an ELF note, which the host reads before it loads
 * anything, and exports the one symbol that it looks for.
 *
 * `manifest` is the path of plugin.json, for the assembler: as seen from where the compiler runs, or in a folder
 * that -Wa,-I names. `version` is the plugin's, `exporter` the address of its struct stacksonde_exporter.
 */
#define STACKSONDE_EXPORTER(manifest, version, exporter)                                                      \
    __asm__(".pushsection .note.stacksonde, \"a\", %note\n"                                                   \
            ".balign 4\n"                                                                                     \
            ".long 2f - 1f\n"                                                                                 \
            ".long 4f - 3f\n"                                                                                 \
            ".long 2\n"                                                                                       \
            "1: .asciz \"Stacksonde\"\n"                                                                      \
            "2: .balign 4\n"                                                                                  \
            "3: .ascii \"{\\\"schema\\\":1,\\\"build\\\":{\\\"abi\\\":\\\"1.0\\\",\\\"target\\\":\\\"" STACKSONDE_TARGET_ \
            "\\\",\\\"panic\\\":\\\"none\\\",\\\"kinds\\\":[\\\"exporter\\\"],\\\"version\\\":\\\"" version      \
            "\\\",\\\"entry\\\":\\\"stacksonde_plugin_c_1\\\"},\\\"plugin\\\":\"\n"                            \
            ".incbin \"" manifest "\"\n"                                                                      \
            ".ascii \"}\"\n"                                                                                  \
            "4: .balign 4\n"                                                                                  \
            ".popsection\n");                                                                                 \
    __attribute__((visibility("default"))) const struct stacksonde_exporter *stacksonde_plugin_c_1(void);     \
    const struct stacksonde_exporter *stacksonde_plugin_c_1(void) { return (exporter); }                      \
    extern int stacksonde_plugin_ends_with_a_semicolon

#ifdef __cplusplus
}
#endif

#endif
