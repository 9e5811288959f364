"""The code of the cervical_cord_compression bundle; configs name it as ``scripts.<module>``.

Everything in this folder ships with the bundle. Modules import one another relatively and at module top (MONAI Label
takes the bundle's root off ``sys.path`` after parsing a config) and keep no state, so that they survive being reloaded.
"""
