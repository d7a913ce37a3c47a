"""Parts of the PictoKG builder; `scripts/build_pictokg.py` is the door.

sources    fetch and unpack the pinned packages         cleaning   drop tautologies, rare relations, loose entities
graph      entities and triples under construction      split      train / valid / test without pair leaks
wordnet    reader of the WordNet 3.1 noun files         masking    hide the names of neighbours in a sentence
concepts   pictured concepts, is_a, part_of, tags       texts      the sentences of every entity
countries  country facts                                pictures   SVG to palette PNG
languages  languages, families, scripts                 audit      statistics and leak counts of the result
glosses    WordNet glosses for everything else          documents  README, LICENSE and notices;  output  write, compare
"""
