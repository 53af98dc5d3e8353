"""Training along directions against its flop count, and beside nested ``torch.func.jvp`` under ``vmap``.

    python benchmarks/forward.py [--widths 256,1024] [--degrees 1,2,3] [--repeats 3] [--peer]

A perceptron of three square layers, SGD with momentum, float32, one thread, seconds of a processor. The flop count is
that of docs/theory.md section 6, product by product of a plain step: a direction of degree 1, 2, 3 takes 4, 12, 24 of
each, and where only one factor has a series 2, 4, 6. It is divided by the rate at which this processor multiplied
real matrices of the same shapes just before and after.
"""
