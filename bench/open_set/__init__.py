"""How well bundles tell the unknown, on fixed protocols, beside pytorch-ood: ``__main__.py`` is the way in.

    which images, which recipe                        protocols.py
    one network and what it says of every part        observed.py
        a frozen backbone, its features kept          frozen.py, kept_features.py
        a trained one, read off its exported graph    trained.py
    pytorch-ood's detectors on the same network       rivals.py, torchvision_stub.py
    one figure a score and list                       cells.py
    finished lists, kept on disk                      store.py
    means over lists, table, picture                  summary.py, table.py, picture.py

Test images, known and unknown, are read for the figures alone. One score looks at them before: ``bound``,
which is named so.
"""
