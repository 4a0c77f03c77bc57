/*
 * Interrupt lines: a level signal from one device to another. A line is a small value that is
 * copied freely; an unconnected line (all zero) swallows what is driven onto it.
 * Machine lock, unless the receiver says otherwise.
 */
#ifndef RHEA_CORE_IRQ_H
#define RHEA_CORE_IRQ_H

typedef struct Irq {
    void (*fn)(void *opaque, int n, int level);
    void *opaque;
    int n;
} Irq;

static inline void irq_set(const Irq *irq, int level)
{
    if (irq->fn) {
        irq->fn(irq->opaque, irq->n, level);
    }
}

static inline void irq_pulse(const Irq *irq)
{
    irq_set(irq, 1);
    irq_set(irq, 0);
}

#endif
