// C says that these names need an include; here they are always known.
#pragma once
