"""The crypto wing: what is true of these markets only. The rooms below it never say the word.

sample.py        a synthetic market of 50 coins for a machine without a network
sample_store.py  writes it as a store that says what it is
planted.py       the predictable part hidden in it, and the oracle that knows it
"""
