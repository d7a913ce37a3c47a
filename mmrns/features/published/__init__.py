"""Features as other projects publish them: their files, whose rows they are, and our store made of them.

Importing this package is cheap: h5py and torch are imported when a file is read.
"""
