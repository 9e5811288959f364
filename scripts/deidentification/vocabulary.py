"""Words that identify nobody, even where someone is called so: else a Spine Center could copy no image of a spine."""

TERMS = """
spine cspine tspine lspine ctspine tlspine lsspine cervical thoracic lumbar sacral sacrum coccyx neck head brain
skull body whole chest abdomen pelvis extremity shoulder knee ankle foot hand wrist elbow hip leg arm thigh breast
heart cardiac liver prostate spinal cord back column columna hws bws lws region entire structure part nuchal mr mri
mrt irm rm mra ct cr dx us nm pt magnetic resonance imaging image images scan scanner study series original primary
secondary derived other norm none unknown yes no on off true false normal identity inverse magnitude phase mixed
real imaginary volume reformatted localizer mosaic map water fat dixon moco dis nd m p r i t se gr ir ep ss sk sp mp
mtc osp trss tse fse ge gre spin echo turbo fast spoiled steady state inversion recovery fs fc pfp pff fp cs cg rg
ppg eg sat satgems space vibe haste blade flair stir trufi ciss mprage propeller hfs hfp ffs ffp hfdr hfdl ffdr ffdl
row col axial sagittal coronal oblique transverse standing supine prone monochrome linear log sigmoid surface coil
receive transmit quadrature multicoil single dual array iso utf sct srt dcm fma ucum standard slice frame stack
native nativ contrast without with routine protocol siemens philips toshiba canon hitachi fujifilm esaote united uih
shimadzu healthineers healthcare medical systems phantom synthetic patient anonymous hospital clinic center centre
institute university department radiology
"""
TABLE_TERMS = """
evaluable motion implant artefact artifact coverage quality reference reader north south east west northern southern
eastern western central america europe asia pacific africa australia oceania middle latin site
"""
PARTS_OF_NAMES = """
de la le van der von den du di el al da dos del ten ter bin zu zur dr mr mrs ms md phd prof jr sr ii iii
"""
# of MR images (PS3.3 defined terms), body parts and makers
VOCABULARY = frozenset(TERMS.split())
# of the tables' statuses, roles, sites and regions of the world
TABLE_VOCABULARY = frozenset(TABLE_TERMS.split())
PARTICLES = frozenset(PARTS_OF_NAMES.split())
