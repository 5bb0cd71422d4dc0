"""sciSR inside napari: its readers and its upscaling as layers; see ``napari.yaml`` beside this file.

Only :mod:`sciSR.napari.window` and the widget's last step need napari itself; all else works on layer data tuples, the
plain form in which napari and its plugins hand layers to each other.
"""
